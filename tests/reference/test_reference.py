"""`make gpu-reference` without a device: its course, its budget, its summary, its checks."""

import json
import sys
import tarfile
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from tests.reference import course, device_trace, gpu_tests, packages, replays, summary
from tests.reference.budget import Cost, share
from tests.reference.capacity import boundary, bracket
from tests.reference.course import Ended, Launcher, due
from tests.reference.folder import ARCHIVE, CUT, DONE, FAILED, WAITING, Folder, OtherDeviceError
from tests.reference.naming import device_slug, profile_name
from tests.reference.plan import PARTS, Step, plan_for
from tests.reference.step import Context, MissingPartError, command_of

H100 = {"device": "cuda:0", "name": "NVIDIA H100 80GB HBM3", "slug": "h100"}
STEPS = [
    Step("environment", "environment", Cost(5, 0, 0), "environment"),
    Step("profile", "profile eager", Cost(10, 20, 5), "profiles"),
    Step("profile", "profile cudagraph", Cost(10, 20, 5), "profiles"),
    Step("bench", "bench", Cost(10, 60, 20), "replays"),
]


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path / "h100")
    made.prepare(H100)
    return made


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def carry_out(steps, folder, budget_s, ends=None, pace=1.0):
    """Run steps that take what they are given, or end as `ends` says; returns (complete, runs)."""
    clock, runs = Clock(), []

    def launch(step, given):
        runs.append((step.name, given))
        took_s = pace * (step.cost.fixed_s + given.work_s)
        clock.now_s += took_s
        state, reason = (ends or {}).get(step.name, (DONE, ""))
        if isinstance(state, type):
            raise state
        return Ended(state, took_s, reason)

    complete = course.run(steps, folder, budget_s, launch, tell=lambda _: None, now=clock)
    return complete, runs


class TestTheBudget:
    def test_is_not_shared_out_where_there_is_enough(self):
        assert share([Cost(10, 20, 5), Cost(10, 60, 20)], 200).work_s == 20

    def test_shortens_all_alike_where_there_is_not(self):
        # 60 s less 20 s to start leave 40 for the 80 that were wanted: half of each.
        assert share([Cost(10, 20, 5), Cost(10, 60, 20)], 60).work_s == pytest.approx(10)

    def test_gives_a_step_its_least_rather_than_nothing(self):
        assert share([Cost(10, 20, 5), Cost(10, 60, 20)], 21).work_s == 5

    def test_gives_nothing_to_a_step_whose_least_does_not_fit(self):
        assert share([Cost(10, 20, 5)], 14.9) is None

    def test_never_lets_a_step_run_past_its_end(self):
        assert share([Cost(10, 20, 5)], 16).limit_s == 16
        assert share([Cost(10, 20, 5)], 500).limit_s < 60

    def test_is_kept_whatever_it_is(self, tmp_path):
        for budget_s in (3, 20, 47, 90, 200):
            own = Folder(tmp_path / f"of-{budget_s}")
            own.prepare(H100)
            _, runs = carry_out(STEPS, own, budget_s)
            used_s = sum(
                step.cost.fixed_s + given.work_s
                for step in STEPS
                for name, given in runs
                if name == step.name
            )
            assert used_s <= budget_s

    def test_of_a_slow_machine_leaves_less_to_what_comes_later(self, folder):
        complete, runs = carry_out(STEPS, folder, 90, pace=1.6)
        given = dict(runs)
        assert given["profile cudagraph"].work_s < given["profile eager"].work_s
        assert not complete
        assert folder.steps["bench"]["state"] == WAITING
        assert "it takes 30 s at least" in folder.steps["bench"]["reason"]

    def test_of_the_full_plan_is_enough_to_begin_every_step_within_nine_minutes(self):
        steps = plan_for("cuda").steps()
        assert sum(step.cost.fixed_s + step.cost.least_s for step in steps) <= 540


class TestResuming:
    def test_skips_what_is_done_and_does_the_rest(self, folder):
        ends = {"profile cudagraph": (FAILED, "exit code 1: no graphs"), "bench": (CUT, "1 left")}
        complete, _ = carry_out(STEPS, folder, 500, ends)
        assert not complete
        left = due(STEPS, folder.steps)
        assert [step.name for step in left] == ["profile cudagraph", "bench"]
        complete, runs = carry_out(left, folder, 500)
        assert complete
        assert [name for name, _ in runs] == ["profile cudagraph", "bench"]
        assert due(STEPS, folder.steps) == []

    def test_goes_on_after_a_kill_in_the_middle(self, folder):
        with pytest.raises(KeyboardInterrupt):
            carry_out(STEPS, folder, 500, {"profile cudagraph": (KeyboardInterrupt, "")})
        again = Folder(folder.path)
        assert [step.name for step in due(STEPS, again.steps)] == ["profile cudagraph", "bench"]

    def test_takes_only_the_parts_that_are_asked_for(self):
        assert [step.name for step in due(STEPS, {}, only=("profile",))] == [
            "profile eager",
            "profile cudagraph",
        ]

    def test_does_again_what_is_done_where_that_is_asked(self):
        noted = {step.name: {"state": DONE} for step in STEPS}
        assert due(STEPS, noted) == []
        assert due(STEPS, noted, only=("bench",), again=True) == STEPS[3:]

    def test_never_forgets_a_measurement_for_want_of_time(self, folder):
        carry_out(STEPS, folder, 500)
        carry_out(STEPS, folder, 1)
        assert {step["state"] for step in folder.steps.values()} == {DONE}

    def test_gives_what_was_cut_another_go_in_the_time_that_others_left(self, folder):
        ends = {"profile eager": (CUT, "")}
        _, runs = carry_out(STEPS, folder, 500, ends)
        assert [name for name, _ in runs] == [*(step.name for step in STEPS), "profile eager"]
        _, runs = carry_out(STEPS, folder, 500, {"bench": (FAILED, "broken")})
        assert [name for name, _ in runs] == [step.name for step in STEPS]

    def test_in_the_folder_of_another_device_is_refused(self, folder):
        with pytest.raises(OtherDeviceError, match=r"must be a folder of l4, but .* is of h100"):
            folder.prepare({"device": "cuda:0", "name": "NVIDIA L4", "slug": "l4"})


class TestTheFolder:
    def test_is_archived_whole_after_every_step(self, folder):
        seen = []

        def launch(step, given):
            if step is not STEPS[0]:
                with tarfile.open(folder.path / ARCHIVE) as tar:
                    seen.append(set(tar.getnames()))
            folder.write(step.name.replace(" ", "-"), {"made": True})
            return Ended(DONE, 1.0)

        course.run(STEPS, folder, 500, launch, tell=lambda _: None)
        assert "h100/environment.json" in seen[0]
        assert {"h100/profile-eager.json", "h100/steps.json"} <= seen[1]
        assert not any(ARCHIVE in name for name in seen[-1])

    def test_leaves_what_is_not_fit_to_be_committed_to_git_ignore(self, folder):
        ignored = (folder.path / ".gitignore").read_text(encoding="utf-8").split()
        assert ignored == [ARCHIVE, "logs/", "tuning/"]


class TestTheEngine:
    @pytest.fixture
    def context(self, folder):
        plan = plan_for("cuda")
        own = Context(plan, plan.steps()[0], folder, 10.0)
        for engine in plan.engines:
            own.profile_of(engine).write_text("{}")
        return own

    def test_is_the_one_that_serves_most_of_those_profiled(self, context, folder):
        folder.add("profile", "eager", {"peak_rps": 100.0})
        folder.add("profile", "cudagraph", {"peak_rps": 300.0})
        assert context.engine == "cudagraph"

    def test_stays_the_same_for_all_parts_until_they_are_done_again(self, context, folder):
        folder.add("profile", "eager", {"peak_rps": 100.0})
        assert context.engine == "eager"
        folder.add("profile", "compile", {"peak_rps": 300.0})
        folder.write("bench", {"bursty 0.7": {}})
        assert context.engine == "eager"
        folder.forget(["bench"])
        assert context.engine == "compile"
        assert folder.read("bench") == {}
        assert set(folder.read("profile")) == {"eager", "compile"}

    def test_cannot_be_told_without_a_profile(self, context):
        with pytest.raises(MissingPartError, match="run the part 'profile' first"):
            _ = context.engine


class TestAStepsProcess:
    @pytest.fixture
    def launched(self, folder, monkeypatch, tmp_path):
        """Run a small program in place of a step; returns how it ended."""

        def launch(program, limit_s=20.0):
            fake = tmp_path / "python"
            fake.write_text(f"#!{sys.executable}\n{program}\n")
            fake.chmod(0o755)
            monkeypatch.setattr(course.sys, "executable", str(fake))
            return Launcher(folder, "cpu")(STEPS[0], SimpleNamespace(work_s=1.0, limit_s=limit_s))

        return launch

    def test_that_ends_well_is_done(self, launched):
        assert launched("print('fine')").state == DONE

    def test_that_fails_is_named_with_its_last_line(self, launched):
        ended = launched("import sys\nprint('first')\nsys.exit('no such device\\n')")
        assert (ended.state, ended.reason) == (FAILED, "exit code 1: no such device")

    def test_that_crashes_takes_nothing_with_it(self, launched):
        ended = launched("import os\nos.kill(os.getpid(), 11)")
        assert ended.state == FAILED
        assert ended.reason.startswith("signal 11")

    def test_that_did_some_of_it_is_cut(self, launched):
        ended = launched("import os\nprint('2 of 6 cells are left', flush=True)\nos._exit(4)")
        assert (ended.state, ended.reason) == (CUT, "2 of 6 cells are left")

    def test_that_takes_too_long_is_ended(self, launched):
        ended = launched("import time\ntime.sleep(60)", limit_s=0.3)
        assert ended.state == CUT
        assert "its most" in ended.reason
        assert ended.took_s < 20.0


class TestThePlan:
    @pytest.mark.parametrize("device", ["cuda", "cpu"])
    def test_has_steps_for_every_part_each_with_a_name_of_its_own(self, device):
        steps = plan_for(device).steps()
        assert {step.part for step in steps} == set(PARTS)
        assert len({step.name for step in steps}) == len(steps)

    def test_begins_with_what_the_others_build_on(self):
        parts = [step.part for step in plan_for("cuda").steps()]
        assert parts.index("profile") < parts.index("saturation") < parts.index("bench")
        assert parts.index("tune") < parts.index("capacity")
        assert parts.index("bench") < parts.index("fidelity")

    @pytest.mark.parametrize(
        ("name", "slug"),
        [
            ("NVIDIA H100 80GB HBM3", "h100"),
            ("NVIDIA H100 PCIe", "h100-pcie"),
            ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "h100-mig-1g.10gb"),
            ("NVIDIA A100-SXM4-80GB", "a100-sxm4"),
            ("Tesla T4", "t4"),
            ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ],
    )
    def test_names_devices_in_short(self, name, slug):
        assert device_slug(name) == slug

    def test_names_a_processor_with_the_cores_it_had(self):
        name = "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
        assert device_slug(name, 16) == "xeon-platinum-8481c-16-cores"

    def test_names_profiles_for_what_they_are_of(self):
        assert profile_name("h100", "resnet50", "fp16", "eager") == "h100-resnet50-fp16"
        assert profile_name("h100", "vit-b16", "bf16", "cudagraph") == "h100-vit-b16-bf16-cudagraph"

    def test_gives_commands_that_can_be_typed(self):
        tables = {
            "model": {"model": "resnet50", "engine": "eager"},
            "batcher": {"max_batch_size": 8, "slo_ms": None, "preferred_batch_sizes": []},
            "replay": {"trace": "bursty.json"},
        }
        assert command_of(tables) == (
            "dynbatch bench --model=resnet50 --max-batch-size=8 --trace=bursty.json"
        )


class TestPackages:
    @staticmethod
    def installed(**versions):
        def find(name):
            if name not in versions:
                raise PackageNotFoundError(name)
            version, *needs = versions[name]
            return SimpleNamespace(version=version, requires=needs)

        return find

    def test_that_lack_are_named_all_at_once(self):
        find = self.installed(numpy=["2.1"])
        missing = packages.missing_packages(["numpy>=1.26", "optuna>=5", "torch>=2.6"], find)
        assert missing.asked == ("optuna>=5", "torch>=2.6")
        line = packages.complaint(missing)
        assert "optuna>=5, torch>=2.6" in line
        assert "\n" not in line

    def test_that_are_too_old_are_named_with_what_there_is(self):
        find = self.installed(optuna=["4.1"])
        missing = packages.missing_packages(["optuna>=5"], find)
        assert missing.asked == ("optuna>=5 (it has 4.1)",)

    def test_that_others_need_are_only_remarked_on_and_extras_not_at_all(self):
        needs = ["5.0", "alembic>=1.5", "redis; extra == 'storage'"]
        find = self.installed(optuna=needs, alembic=["1.9", "optuna"])
        assert packages.missing_packages(["optuna>=5"], find) == packages.Missing((), ())
        missing = packages.missing_packages(["optuna>=5"], self.installed(optuna=needs))
        assert missing == packages.Missing((), ("alembic>=1.5",))
        assert "alembic>=1.5" in packages.remark(missing)

    def test_are_all_here_where_the_suite_runs(self):
        assert not packages.missing_packages([*packages.declared(), *packages.FOR_TESTS]).asked


class TestTheBisection:
    @pytest.mark.parametrize("start", [900.0, 1000.0, 1300.0, 4000.0])
    def test_brackets_the_boundary_closely_from_wherever_it_begins(self, start):
        passed, failed = bracket(lambda value: value <= 1000.0, start, lambda: True)
        assert passed <= 1000.0 < failed
        assert failed <= 1.045 * passed

    def test_begun_near_by_needs_few_attempts(self):
        tried = []
        bracket(lambda value: tried.append(value) or value <= 1000.0, 980.0, lambda: True)
        assert len(tried) <= 4

    def test_cut_short_says_what_it_knows(self):
        assert bracket(lambda value: True, 100.0, lambda: False) == (100.0, None)
        assert bracket(lambda value: False, 100.0, lambda: False) == (None, 100.0)

    def test_is_told_by_the_loads_that_were_offered(self):
        def trial(asked_rps, met):
            return {"asked_rps": asked_rps, "rate_rps": 1.07 * asked_rps, "met": met}

        trials = [trial(100.0, met=True), trial(108.0, met=False), trial(104.0, met=True)]
        found = boundary(trials)
        assert found["rate_rps"] == pytest.approx(1.07 * 104)
        assert found["missed_at_rps"] == pytest.approx(1.07 * 108)
        assert boundary(trials[:1])["missed_at_rps"] is None
        assert boundary(trials[1:2])["rate_rps"] is None

    def test_ends_where_loads_become_too_low_to_tell_anything(self):
        tried = []
        bracket(tried.append, 20.0, lambda: True, least=5.0)
        assert len(tried) > 1
        assert min(tried) >= 5.0


def kernel(ts, dur, name="void gemm<float>(int*)", cat="kernel"):
    return {"ph": "X", "cat": cat, "ts": ts, "dur": dur, "name": name}


class TestADeviceTrace:
    def test_is_split_into_computing_copying_and_idle(self):
        found = device_trace.summarise(
            [
                kernel(0, 400),
                kernel(300, 300),  # on another stream, at the same time
                kernel(600, 100, "Memcpy HtoD (Pinned -> Device)", "gpu_memcpy"),
                kernel(900, 100),
                {"ph": "X", "cat": "cuda_runtime", "ts": 700, "dur": 200, "name": "launch"},
                {"ph": "M", "name": "process_name"},
            ]
        )
        assert found["window_s"] == pytest.approx(1e-3)
        assert found["computing_share"] == pytest.approx(0.7)
        assert found["copying_share"] == pytest.approx(0.1)
        assert found["idle_share"] == pytest.approx(0.2)
        assert found["kernels"] == 3
        [gap] = found["gaps"]
        assert gap["after"].startswith("Memcpy HtoD")
        assert gap["before"] == "gemm"
        assert gap["share"] == pytest.approx(0.2)

    def test_names_the_gaps_that_cost_most_first_and_short_ones_together(self):
        events = [kernel(110 * n, 100, f"a{n % 2}") for n in range(10)]
        events += [kernel(5000, 10, "late"), kernel(5012, 10, "later")]
        found = device_trace.summarise(events)
        assert [gap["before"] for gap in found["gaps"]] == ["late", "a1", "a0"]
        assert found["gaps"][1]["count"] == 5
        assert found["short_gaps_share"] == pytest.approx(2 / 5022)

    def test_leaves_out_its_beginning_where_that_is_asked(self):
        events = [kernel(0, 10), kernel(1000, 50, "a"), kernel(1100, 50, "b")]
        found = device_trace.summarise(events, skip_s=0.0005)
        assert found["window_s"] == pytest.approx(150e-6)
        assert found["kernels"] == 2

    def test_without_a_device_is_none(self):
        assert device_trace.summarise([{"ph": "X", "cat": "cpu_op", "ts": 0, "dur": 1}]) is None


def replayed(p99_s, predicted_s=0.011):
    values = {
        "throughput_rps": 900.0,
        "latency_s.p50": 0.004,
        "latency_s.p99": p99_s,
        "batch.mean_size": 8.0,
    }
    return {
        "settings": {"replay": {"duration": 8.0}},
        "command": "dynbatch bench --trace=bursty.json",
        "valid": True,
        "findings": [],
        "predicted": {**values, "latency_s.p99": predicted_s},
        "measured": values,
        "metrics": {
            "offered_rps": 900.0,
            "latency_s": {"p50": 0.004, "p99": p99_s},
            "batch": {"mean_size": 8.0},
            "device": {"busy_fraction": None},
        },
    }


def profiled(engine, peak_rps, alone_rps):
    return {
        "model": "resnet50",
        "dtype": "fp16",
        "engine": engine,
        "peak_rps": peak_rps,
        "peak_batch_size": 64,
        "batching_gain": peak_rps / alone_rps,
        "cold_start_s": {"load": 2.0, "first_request": None, "warm_up": 3.0},
        "sizes": [{"batch_size": 1, "rate_rps": alone_rps}],
        "command": f"dynbatch profile --engine {engine}",
    }


def arm(rate_rps, engine="cudagraph", *, missed=True):
    trial = {"rate_rps": rate_rps, "p99_s": 0.045, "met": True}
    knobs = {"policy": "timeout", "max_batch_size": 64, "batch_timeout_ms": 0.0, "in_flight": 2}
    return {
        "engine": engine,
        "batcher": knobs,
        "rate_rps": rate_rps,
        "missed_at_rps": 1.04 * rate_rps if missed else None,
        "trials": [trial],
    }


class TestTheSummary:
    def test_of_nothing_names_what_was_not_run(self, folder):
        text = summary.write(folder)
        for part in PARTS:
            assert f"- {part}: not run" in text
        assert "nan" not in text

    def test_says_what_was_measured_on_what_and_by_which_command(self, folder):
        folder.write(
            "environment",
            {
                **H100,
                "measured": "2026-11-22T10:00:00+00:00",
                "cpu": "A CPU",
                "cores": 16,
                "python": "3.12.3",
                "packages": {"torch": "2.11.0", "dynbatch": "0.1.0"},
                "git_commit": "abc",
                "gpu_facts": {"driver": "580.1", "power_limit_w": 700.0},
            },
        )
        folder.write(
            "profile",
            {
                "eager": profiled("eager", 3000.0, 150.0),
                "cudagraph": profiled("cudagraph", 6000.0, 1000.0),
            },
        )
        folder.write(
            "capacity",
            {
                "recommended": arm(5000.0),
                "window 32/10 ms": arm(2500.0),
                "no batching": arm(400.0),
            },
        )
        text = summary.write(folder)
        assert "NVIDIA H100 80GB HBM3" in text
        assert "driver 580.1, power limit 700 W, Python 3.12.3, torch 2.11.0" in text
        assert "| capacity of resnet50 fp16, cudagraph | 6,000 req/s in batches of 64" in text
        assert "| the same against one by one in eager | x 40.0 |" in text
        assert "| the same, window 32/10 ms | 2,500 req/s; recommended x 2.00 |" in text
        assert "| the same, no batching | 400 req/s; recommended x 12.50 |" in text
        assert "`dynbatch profile --engine cudagraph`" in text
        assert "not measured" in text  # the cold start that is not known
        assert "- bench: not run" in text

    def test_says_where_a_capacity_is_only_a_lower_bound(self, folder):
        arms = {
            "recommended": arm(5000.0, missed=False),
            "window 32/10 ms": arm(2500.0),
            "no batching": {**arm(1.0), "rate_rps": None},
        }
        folder.write("capacity", arms)
        text = summary.write(folder)
        assert "2,500 req/s; recommended at least x 2.00" in text
        assert "recommended setting | at least 5,000 req/s |" in text
        assert "| no batching | cudagraph | timeout 64 / 0 ms, in flight 2 | none |" in text

    def test_names_parts_that_failed_or_were_cut_with_their_reason(self, folder):
        folder.note(STEPS[1], FAILED, took_s=3.0, reason="exit code 1: out of memory")
        text = summary.write(folder)
        assert "- profile eager: failed, exit code 1: out of memory" in text

    def test_gives_errors_against_the_median_of_the_replays_with_their_spread(self, folder):
        folder.write("bench", {"bursty 0.7": replayed(0.010), "poisson 0.7": replayed(0.020)})
        folder.write("fidelity", {"bursty 0.7": replayed(0.012)})
        table = replays.errors(folder.read("bench"), folder.read("fidelity"))
        twice = table["bursty 0.7"]["latency_s.p99"]
        assert twice["error"] == pytest.approx(0.0)
        assert twice["spread"] == pytest.approx(2 / 11)
        assert table["poisson 0.7"]["latency_s.p99"]["spread"] is None
        text = summary.write(folder)
        assert "+0.0 % (18.2 %)" in text
        assert "| poisson 0.7 | +0.0 % | +0.0 % | -45.0 % | +0.0 % |" in text

    def test_leaves_out_of_the_errors_what_was_not_predicted(self):
        unpredicted = {**replayed(0.01), "predicted": None}
        assert replays.errors({"a": unpredicted}, {}) == {"a": {}}
        assert replays.medians({"a": {}}) == {}

    def test_shows_what_the_device_did_in_a_steady_second(self, folder):
        run = {"rps": 100.0, "cpu_s_per_request": 1e-4, "device_rps": 110.0}
        through = {**run, "share_of_bare": 0.98}
        trace = device_trace.summarise([kernel(0, 900), kernel(1000, 100, "relu")])
        folder.write(
            "saturation",
            {
                "engine": "cudagraph",
                "model": "resnet50",
                "dtype": "fp16",
                "sizes": {"32": {"bare": run, "in_flight_1": through, "in_flight_2": through}},
                "copy": {"bytes_per_request": 150528, "bytes_per_s": 5.2e10},
                "trace": {"batch_size": 32, "in_flight": 2, "summary": trace},
            },
        )
        text = summary.write(folder)
        assert "| through the batcher, of a bare loop's requests/s | 98 % at 32 |" in text
        assert "52.0 GB/s" in text
        assert "| `gemm` | `relu` | 1 |" in text


class TestTheGpuTests:
    def test_are_found_by_their_mark(self, tmp_path):
        (tmp_path / "test_a.py").write_text("pytestmark = pytest.mark.gpu")
        (tmp_path / "test_b.py").write_text("import uvicorn")
        assert [path.name for path in gpu_tests.marked(tmp_path)] == ["test_a.py"]

    def test_are_counted_with_the_first_line_of_what_failed(self, tmp_path):
        report = tmp_path / "r.xml"
        report.write_text(
            '<testsuites><testsuite><testcase classname="a" name="good" time="1.5"/>'
            '<testcase classname="a" name="bad" time="0.5"><failure message="first&#10;second"/>'
            '</testcase><testcase classname="a" name="left"><skipped message="no GPU"/></testcase>'
            "</testsuite></testsuites>"
        )
        found = gpu_tests.summary(report)
        assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 1)
        assert found["seconds"] == 2.0
        assert found["failures"] == {"a::bad": "first"}


class TestTheCommand:
    @pytest.fixture
    def command(self, capsys):
        """Run it in this process; returns (exit code, stdout, stderr)."""
        from tests.reference import cli

        def run(*arguments):
            with pytest.raises(SystemExit) as left:
                cli.main([*map(str, arguments)])
            captured = capsys.readouterr()
            return left.value.code, captured.out, captured.err

        return run

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--only", "profile,nonsense"], "parts are environment, profile,"),
            (["--budget", "never"], "budget must be a time above 0"),
            (["--device", "cpus"], "device must be auto, cpu, cuda"),
            (["--summary"], "out must be the folder of a reference run"),
        ],
    )
    def test_refuses_what_it_cannot_do_in_one_line(self, command, arguments, said):
        code, _, err = command(*arguments)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1

    def test_names_missing_packages_in_one_line_before_anything_else(self, command, monkeypatch):
        lacking = packages.Missing(("optuna>=5", "x"), ())
        monkeypatch.setattr("tests.reference.cli.missing_packages", lambda _: lacking)
        code, out, err = command("--device", "cpu")
        assert (code, out) == (2, "")
        assert "optuna>=5, x" in err
        assert err.count("\n") == 1

    def test_lists_what_it_would_do(self, command):
        code, out, _ = command("--list")
        assert code == 0
        assert all(f"{part}: " in out for part in PARTS)

    def test_writes_the_summary_of_a_folder_from_another_machine(self, command, folder):
        folder.write("profile", {"eager": profiled("eager", 3000.0, 150.0)})
        code, _, err = command("--summary", "--out", folder.path)
        assert code == 0, err
        assert "3,000 req/s" in (folder.path / "summary.md").read_text(encoding="utf-8")
        assert (folder.path / "profile.png").exists()

    def test_measures_a_part_and_skips_it_the_next_time(self, command, tmp_path):
        out = tmp_path / "here"
        arguments = ["--device", "cpu", "--only", "environment", "--out", out, "--budget", "60s"]
        code, said, err = command(*arguments)
        assert code == 0, err
        assert "1 steps to do" in said
        found = json.loads((out / "environment.json").read_text(encoding="utf-8"))
        assert found["device"] == "cpu"
        assert found["packages"]["torch"]
        assert "0 steps to do" in command(*arguments)[1]
