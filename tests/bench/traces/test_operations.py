"""`dynbatch trace window`, `scale` and `merge`, and `bench --loop`: what they write and say."""

import json

import numpy as np
import pytest

from workloads import Trace, load, save

# Binomial(600, 1/2), five standard deviations.
KEPT = pytest.approx(300, abs=61)


@pytest.fixture
def dynbatch(dynbatch, monkeypatch):
    """Run a command line on a wide terminal; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")
    return dynbatch


@pytest.fixture
def files(tmp_path):
    """lunch.json: a minute with tokens, busy in its last 15 s; tea.json: 20 s without any."""
    rng = np.random.default_rng(3)
    arrival_s = np.sort(np.concatenate([rng.random(200) * 60, 45 + rng.random(400) * 15]))
    tokens = np.arange(len(arrival_s))
    save(Trace(arrival_s, 60.0, input_tokens=tokens, name="lunch"), tmp_path / "lunch.json")
    save(Trace(np.arange(20) + 0.5, 20.0, name="tea"), tmp_path / "tea.json")
    return tmp_path


def read(name):
    return load(name).trace


def only(out):
    """The one JSON object that is all of stdout."""
    return json.loads(out)


class TestWindow:
    def test_writes_the_busy_window_and_says_where_it_was_and_how_it_ranks(self, dynbatch, files):
        code, out, err = dynbatch(
            "trace", "window", "lunch.json", "--length", 10, "--pick", "busy", "--out", "peak.json"
        )
        assert (code, err) == (0, "")
        peak, lunch = read("peak.json"), read("lunch.json")
        assert (peak.duration_s, peak.name) == (10.0, "peak")
        assert len(peak) > 250
        first = int(peak.input_tokens[0])
        assert peak.input_tokens.tolist() == list(range(first, first + len(peak)))
        assert peak.arrival_s + 47.5 == pytest.approx(lunch.arrival_s[first:][: len(peak)])
        assert f"peak.json: 47.5 s to 57.5 s, {len(peak)} requests" in out
        assert "of 21 windows of 10 s 19 have fewer and 1 have more" in out

    def test_several_windows_are_files_of_their_own_that_do_not_overlap(self, dynbatch, files):
        code, out, _ = dynbatch(
            "trace", "window", "lunch.json", "--length", 10, "--count", 3, "--out", "w.json",
            "--json",
        )  # fmt: skip
        windows = only(out)["windows"]
        assert (code, [w["out"] for w in windows]) == (0, ["w-1.json", "w-2.json", "w-3.json"])
        assert [w["requests"] for w in windows] == [len(read(w["out"])) for w in windows]
        assert min(np.diff(sorted(w["start_s"] for w in windows))) >= 10.0

    def test_a_window_may_be_named_by_its_start(self, dynbatch, files):
        dynbatch("trace", "window", "tea.json", "--length", 2, "--start", 3, "--out", "w.json")
        assert read("w.json").arrival_s.tolist() == [0.5, 1.5]

    def test_seeds_choose_between_equals_and_quiet_says_nothing(self, dynbatch, files):
        def window(seed):
            code, out, err = dynbatch(
                "trace", "window", "lunch.json", "--length", 5, "--pick", "random", "--seed", seed,
                "--out", "w.json", "--quiet",
            )  # fmt: skip
            assert (code, out, err) == (0, "", "")
            return read("w.json").fingerprint()

        assert window(1) == window(1)
        assert len({window(seed) for seed in range(6)}) > 1


class TestScale:
    @pytest.mark.parametrize(
        ("options", "made", "says"),
        [
            ("--rate 20 --rate-by time", (600, 30.0), "All times were multiplied by 0.5: a burst"),
            ("--rate 20 --rate-by superpose", (1200, 60.0), "2 copies were laid over each other"),
            ("--rate 20 --rate-by auto", (1200, 60.0), "those of different copies seldom coincide"),
            ("--rate 5 --rate-by auto --seed 1", (KEPT, 60.0), "was kept with probability 0.5"),
            ("--rate 5", (600, 120.0), "--rate-by thin would keep their length."),
        ],
    )
    def test_says_what_it_did_to_the_bursts(self, dynbatch, files, options, made, says):
        code, out, err = dynbatch(
            "trace", "scale", "lunch.json", *options.split(), "--out", "s.json"
        )
        assert (code, err) == (0, "")
        assert says in " ".join(out.split())
        assert "index of dispersion at 1.00 s" in out
        scaled = read("s.json")
        assert (len(scaled), scaled.duration_s) == (made[0], pytest.approx(made[1]))

    def test_a_time_scale_follows_the_rate(self, dynbatch, files):
        code, out, _ = dynbatch(
            "trace", "scale", "lunch.json", "--rate", 20, "--time-scale", 4, "--out", "s.json",
            "--json",
        )  # fmt: skip
        said = only(out)
        assert (code, read("s.json").duration_s) == (0, pytest.approx(120.0))
        assert said["before"]["rate_rps"] == 10.0
        assert said["after"]["rate_rps"] == pytest.approx(5.0)
        factors = [done["factor"] for done in said["operations"]]
        assert factors == [0.5, 4.0]
        scales = {each["span_s"]: each["index"] for each in said["before"]["dispersion"]}
        assert scales[1.0] > 3
        assert scales[10.0] is None


class TestMerge:
    def test_lays_traces_over_each_other_and_says_where_one_ends(self, dynbatch, files):
        code, out, err = dynbatch(
            "trace", "merge", "lunch.json", "tea.json", "--drop-tokens", "--out", "m.json"
        )
        assert code == 0
        assert err == "tea.json ends at 20 s of 60 s: the load falls there\n"
        assert "m.json: 620 requests in 60 s, 10.3 req/s" in out
        assert read("m.json").input_tokens is None

    def test_puts_traces_one_behind_the_other(self, dynbatch, files):
        code, out, err = dynbatch(
            "trace", "merge", "tea.json", "tea.json", "--concat", "--out", "m.json", "--json"
        )
        assert (code, err) == (0, "")
        assert only(out)["duration_s"] == 40.0
        assert read("m.json").arrival_s.tolist() == [*np.arange(40) + 0.5]

    def test_starts_each_trace_when_it_is_told_to(self, dynbatch, files):
        dynbatch(
            "trace", "merge", "tea.json", "tea.json", "--offset", 0, "--offset", 15.25,
            "--out", "m.json",
        )  # fmt: skip
        made = read("m.json")
        assert (len(made), made.duration_s) == (40, 35.25)
        assert made.arrival_s[-1] == 34.75


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["window", "log.csv", "--length", "1", "--start", "0"], 10),
        (["scale", "log.csv", "--rate", "20"], 40),
        (["merge", "log.csv", "log.csv"], 80),
    ],
)
def test_recordings_are_read_by_the_options_given_and_notes_are_said_once(
    dynbatch, files, arguments, made
):
    lines = [f"{i * 100},{i}" for i in range(40)]
    (files / "log.csv").write_text("\n".join(["at,n", *lines[:9], "x,y", *lines[9:]]))
    how = ["--time-column", "at", "--time-unit", "ms", "--skip-bad", 1]
    code, _, err = dynbatch("trace", *arguments, *how, "--out", "made.json")
    assert (code, len(read("made.json"))) == (0, made)
    assert err.count("log.csv: 1 bad line of 41 skipped; the first: line 11") == 1
    assert "log.csv: 40 rows, each taken as one request at its at; other columns: n\n" in err
    assert err.count("\n") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["window", "none.json", "--length", "1"],
        ["scale", "none.json", "--rate", "2"],
        ["merge", "none.json", "tea.json"],
        ["make", "poisson", "--rate", "2"],
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_read(dynbatch, files, arguments):
    assert dynbatch("trace", *arguments, "--out", "no/made.json") == (
        2, "", "dynbatch: no/made.json cannot be written: there is no folder no\n",
    )  # fmt: skip


def test_a_file_keeps_how_it_came_about_and_who_plays_it_is_told(dynbatch, files):
    dynbatch("trace", "window", "tea.json", "--length", 10, "--start", 2, "--out", "w.json")
    dynbatch("trace", "scale", "w.json", "--rate", 3, "--rate-by", "superpose", "--out", "s.json")
    dynbatch("trace", "merge", "tea.json", "s.json", "--out", "m.json")
    window = "a window of tea.json, from 2 s to 12 s"
    scaled = "w.json at 3 req/s (--rate-by superpose, seed 0)"
    assert load("s.json").notes == (window, scaled)
    assert load("m.json").notes == (
        f"s.json: {window}",
        f"s.json: {scaled}",
        "merged from tea.json and s.json",
    )
    _, _, err = dynbatch("trace", "window", "s.json", "--length", 1, "--out", "x.json")
    assert f"s.json: {window}\n" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # a trace that describes a process has nothing to cut
        (["window", "bursty", "--length", "5"], "bursty must list its arrivals, but describes a "
                                                "process: draw it first (dynbatch trace make)"),
        (["scale", "bursty", "--rate", "5"], "draw it first (dynbatch trace make)"),
        (["merge", "bursty", "lunch.json"], "draw it first (dynbatch trace make)"),
        (["window", "none.json", "--length", "5"], "none.json does not exist"),
        (["window", "lunch.json"], "Missing option '--length'"),
        (["window", "lunch.json", "--length", "61"], "at most as long as lunch, 60 s, but got 61"),
        (["window", "lunch.json", "--length", "nan"], "length_s must be > 0 and finite"),
        (["window", "lunch.json", "--length", "5", "--pick", "loud"], "pick must be one of busy, "),
        (["window", "lunch.json", "--length", "5", "--pick", "busy", "--start", "3"],
         "a window must be chosen in one way, but got --pick and --start"),
        (["window", "lunch.json", "--length", "5", "--start", "3", "--count", "2"],
         "count must be 1 with --start, but got 2"),
        (["window", "lunch.json", "--length", "5", "--start", "56"], "start must be between 0 and"),
        (["window", "lunch.json", "--length", "5", "--percentile", "101"], "percentile must be"),
        (["scale", "lunch.json"], "a scale must be given as --rate, --time-scale or both"),
        (["scale", "lunch.json", "--rate-by", "thin", "--time-scale", "2"], "must come with a "
                                                                            "--rate"),
        (["scale", "lunch.json", "--rate", "20", "--rate-by", "thin"], "below the 10 req/s of lun"),
        (["scale", "lunch.json", "--rate", "0"], "rate_rps must be > 0 and finite, but got 0"),
        (["scale", "lunch.json", "--time-scale", "-1"], "time_scale must be > 0"),
        (["scale", "lunch.json", "--time-scale", "1e300"], "must keep the duration of 60 s"),
        (["scale", "lunch.json", "--rate", "1e300"], "rate_rps must keep the duration of 60 s"),
        (["scale", "lunch.json", "--rate", "5", "--time-unit", "ms"], "time_unit must go with one"),
        (["scale", "lunch.json", "--rate", "5", "--seed", "-1", "--rate-by", "thin"],
         "seed must be >= 0"),
        (["merge", "lunch.json"], "traces must be at least two to be merged, but got 1"),
        (["merge", "lunch.json", "tea.json"], "lunch has them and tea does not: --drop-tokens"),
        (["merge", "tea.json", "tea.json", "--offset", "1"], "once for each of the 2 traces, but "
                                                             "got 1"),
        (["merge", "tea.json", "tea.json", "--offset", "1", "--offset", "-1"], "offset_s must be"),
        (["merge", "tea.json", "tea.json", "--offset", "1", "--offset", "1", "--concat"],
         "by --offset or by --concat, but got both"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(dynbatch, files, arguments, message):
    code, out, err = dynbatch("trace", *arguments, "--out", "out.json")
    assert (code, out) == (2, "")
    assert err.startswith("dynbatch: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in files.iterdir()) == ["lunch.json", "tea.json"]


class TestBench:
    RUN = ("bench", "--model", "affine:1,0.05", "--trace", "tea.json", "--out", "run")

    def test_a_run_longer_than_its_recording_names_the_ways_out(self, dynbatch, files):
        code, _, err = dynbatch(*self.RUN, "--rate", 100)
        assert code == 0
        code, _, err = dynbatch(*self.RUN[:-1], "long", "--rate", 100, "--duration", 0.5)
        assert code == 2
        for way in ("--rate (at most 40)", "--duration (at most 0.2)", "--loop", "trace fit"):
            assert way in err

    def test_a_loop_plays_on_and_counts_one_pass_as_evidence(self, dynbatch, files):
        code, out, _ = dynbatch(*self.RUN, "--rate", 1000, "--duration", 0.7, "--loop")
        assert code == 0
        record = json.loads((files / "run" / "run.json").read_text())
        assert (record["trace"]["loops"], record["trace"]["pass_s"]) == (35, 0.02)
        assert record["config"]["loop"] is True
        assert record["metrics"]["counts"]["submitted"] == 700
        assert "too_few_requests" in [finding["code"] for finding in record["findings"]]
        assert "was played 35.0 times" in " ".join(out.split())

    def test_a_config_may_ask_for_a_loop_and_the_command_line_not(self, dynbatch, files):
        (files / "c.toml").write_text('[replay]\nloop = true\nrate_by = "superpose"\n')
        given = ("--config", "c.toml", "--rate", 20, "--duration", 20.1)
        code, _, err = dynbatch(*self.RUN, *given, "--no-loop")
        assert code == 2
        assert "last 20 s at 20 req/s: give a shorter --duration" in err
