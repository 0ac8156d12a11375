"""One contract for every server that a setting is exported to, and what each is told."""

import re
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batching.models import CallableModel
from batching.workers.replicas import executors_for
from bench import cli
from bench.errors import InputError
from bench.export import TARGETS, export
from bench.export.contract import replicas
from bench.settings import BatcherSettings, Settings
from tests.bench.export.exported import READERS, body, read

# For every knob a value that is not its default, and what it needs beside it.
KNOBS = {
    "policy": {"policy": "window"},
    "max_batch_size": {"max_batch_size": 7},
    "batch_timeout_ms": {"batch_timeout_ms": 3.5},
    "min_wait_ms": {"min_wait_ms": 1.5},
    "preferred_batch_sizes": {"preferred_batch_sizes": [4, 8]},
    "slo_ms": {"slo_ms": 45.0},
    "max_queue_size": {"max_queue_size": 90},
    "deadline_ms": {"deadline_ms": 150.0},
    "execute_timeout_ms": {"execute_timeout_ms": 4000.0},
    "replicas": {"replicas": 3},
    "in_flight": {"in_flight": 2},
}


def settings_of(model=None, **batcher):
    return Settings.model_validate({"model": model or {}, "batcher": batcher})


def exported(to, model=None, **batcher):
    done = export(settings_of(model, **batcher), to, "recommended.toml")
    return read(to, done.text), done.warnings


@pytest.fixture(params=TARGETS)
def to(request):
    return request.param


class TestEveryServer:
    def test_has_a_reader_in_this_suite(self, to):
        assert to in READERS

    def test_is_told_the_largest_batch(self, to):
        assert "23" in body(export(settings_of(max_batch_size=23), to, "x.toml").text)

    @pytest.mark.parametrize("knob", BatcherSettings.model_fields)
    def test_a_knob_that_is_set_is_carried_or_said_to_be_left_out(self, to, knob):
        plain = export(settings_of(), to, "x.toml")
        done = export(settings_of(**KNOBS[knob]), to, "x.toml")
        new = set(done.warnings) - set(plain.warnings)
        assert body(done.text) != body(plain.text) or any(f"{knob}=" in line for line in new)
        assert all(knob in line for line in new), "nothing else changed"

    def test_what_it_says_it_carries_changes_the_file(self, to):
        plain = body(export(settings_of(), to, "x.toml").text)
        for knob in TARGETS[to].carries - {"slo_ms"}:  # of no consequence under policy timeout
            done = export(settings_of(**KNOBS[knob]), to, "x.toml")
            changed = body(done.text) != plain
            assert changed or any(knob in line and "left out" in line for line in done.warnings)

    def test_every_warning_is_in_the_file_too_and_so_is_what_differs(self, to):
        every = {key: value for knob in KNOBS.values() for key, value in knob.items()}
        every["max_batch_size"] = 9
        done = export(settings_of(**every), to, "x.toml")
        comments = "".join(line[1:] for line in done.text.splitlines() if line.startswith("#"))
        said = " ".join(comments.split())
        for sentence in (*done.warnings, *TARGETS[to].semantics):
            assert " ".join(sentence.split()) in said
        assert "x.toml" in said

    def test_text_of_the_users_stays_in_the_comments(self, to):
        evil = {"model": 'x\nbatchSize: 1\nimport os\r\x0b"""', "dtype": "fp32"}
        wanted, _ = exported(to, max_batch_size=5)
        found, _ = exported(to, evil, max_batch_size=5)
        assert found == wanted

    def test_is_refused_a_device_that_is_none(self, to):
        with pytest.raises(InputError, match=r"device must be auto, cpu, cuda or .*, but got 'tpu"):
            exported(to, {"device": "tpu"})

    @pytest.mark.parametrize(
        ("gpus", "here"), [(0, "cpu"), (2, "cuda:0")], ids=["a machine without a GPU", "with two"]
    )
    @pytest.mark.parametrize("asked", [{}, {"device": "auto"}], ids=["no device named", "auto"])
    def test_is_given_the_device_that_auto_is_here_and_says_which(
        self, monkeypatch, to, gpus, here, asked
    ):
        monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
        found, warnings = exported(to, asked, max_batch_size=5)
        pinned, without = exported(to, {"device": here}, max_batch_size=5)
        assert found == pinned
        assert set(warnings) - set(without) == {
            f"device=auto is {here} on this machine, and is exported as that: --device for another"
        }

    @given(
        device=st.sampled_from(["auto", "cpu", "cuda", "cuda:3", "cuda:0,cuda:1", "cpu,cuda"]),
        knobs=st.fixed_dictionaries(
            {
                "max_batch_size": st.integers(1, 65536),
                "batch_timeout_ms": st.floats(0, 1e12) | st.integers(0, 10**6).map(float),
                "max_queue_size": st.none() | st.integers(1, 2**70),
                "deadline_ms": st.none() | st.floats(0, 1e30, exclude_min=True),
                "replicas": st.none() | st.integers(1, 1024),
            }
        ),
    )
    @hypothesis_settings(max_examples=40, deadline=None)
    def test_any_setting_is_written_well_formed_or_refused_in_one_line(self, device, knobs):
        wanted = settings_of({"device": device}, **knobs)
        for name in TARGETS:
            try:
                done = export(wanted, name, "x.toml")
            except InputError as error:
                refused = str(error)
                assert re.fullmatch(r".* but got .*", refused)
            else:
                assert read(name, done.text)


class TestTriton:
    def test_gets_the_delay_in_microseconds_the_queue_and_the_deadline(self):
        found, warnings = exported(
            "triton",
            {"device": "cpu"},
            max_batch_size=16,
            batch_timeout_ms=2.5,
            max_queue_size=64,
            deadline_ms=100,
            replicas=2,
        )
        assert found == {
            "max_batch_size": 16,
            "dynamic_batching": {
                "max_queue_delay_microseconds": 2500,
                "default_queue_policy": {
                    "max_queue_size": 64,
                    "default_timeout_microseconds": 100_000,
                    "timeout_action": "REJECT",
                    "allow_timeout_override": "true",
                },
            },
            "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
        }
        assert warnings == ()

    def test_gets_the_limit_among_the_preferred_sizes_so_that_a_full_batch_goes(self):
        found, _ = exported("triton", max_batch_size=32, preferred_batch_sizes=[4, 8])
        assert found["dynamic_batching"]["preferred_batch_size"] == [4, 8, 32]

    def test_gets_no_queue_policy_where_the_queue_has_no_limit(self):
        found, _ = exported("triton")
        assert found["dynamic_batching"] == {"max_queue_delay_microseconds": 10_000}

    @pytest.mark.parametrize(("timeout_ms", "delay_us"), [(0, 0), (0.0001, 1), (0.3, 300)])
    def test_a_delay_that_is_set_is_never_rounded_to_off(self, timeout_ms, delay_us):
        found, _ = exported("triton", batch_timeout_ms=timeout_ms)
        assert found["dynamic_batching"]["max_queue_delay_microseconds"] == delay_us

    def test_gets_as_many_instances_on_each_gpu_as_there_were_replicas(self):
        found, _ = exported("triton", {"device": "cuda:0, cuda:1"}, replicas=3)
        assert found["instance_group"] == [
            {"count": 2, "kind": "KIND_GPU", "gpus": [0]},
            {"count": 1, "kind": "KIND_GPU", "gpus": [1]},
        ]

    def test_is_refused_a_queue_larger_than_its_field(self):
        with pytest.raises(InputError, match="max_queue_size must be at most 4294967295"):
            exported("triton", max_queue_size=2**32)


class TestRayServe:
    def test_gets_the_batch_the_timeout_in_seconds_and_the_replicas(self):
        found, _ = exported("ray-serve", {"device": "cuda:0"}, max_batch_size=16,
                            batch_timeout_ms=2.5, replicas=1)  # fmt: skip
        assert found["serve.batch"] == {"max_batch_size": 16, "batch_wait_timeout_s": 0.0025}
        assert found["serve.deployment"] == {
            "num_replicas": 1,
            "max_ongoing_requests": 32,
            "max_queued_requests": -1,
            "ray_actor_options": {"num_gpus": 1},
        }

    @pytest.mark.parametrize(
        ("size", "workers", "limit", "ongoing", "queued"),
        [
            (16, 1, None, 32, -1),  # no limit: one batch runs, one forms, the callers hold the rest
            (16, 1, 100, 32, 84),  # 16 wait inside, the others outside
            (16, 2, 100, 32, 68),
            (16, 1, 4, 20, 1),  # all wait inside; the callers' queue cannot be 0
            (1, 1, 1, 2, 1),
        ],
    )
    def test_has_room_for_as_many_waiting_requests_as_the_queue(
        self, size, workers, limit, ongoing, queued
    ):
        found, _ = exported(
            "ray-serve", max_batch_size=size, replicas=workers, max_queue_size=limit
        )
        assert found["serve.deployment"]["max_ongoing_requests"] == ongoing
        assert found["serve.deployment"]["max_queued_requests"] == queued

    def test_is_warned_that_no_timeout_means_no_batches(self):
        _, warnings = exported("ray-serve", batch_timeout_ms=0)
        assert any(line.startswith("batch_timeout_ms=0 makes") for line in warnings)
        _, warnings = exported("ray-serve", batch_timeout_ms=0, max_batch_size=1)
        assert not any("batch_timeout_ms" in line for line in warnings)

    def test_is_refused_devices_of_two_kinds(self):
        with pytest.raises(InputError, match="Ray Serve takes devices of one kind, but got"):
            exported("ray-serve", {"device": "cpu,cuda:0"})


class TestLitServe:
    def test_gets_the_batch_the_timeout_in_seconds_and_the_workers(self):
        found, _ = exported("litserve", {"device": "cuda:1,cuda:3"}, max_batch_size=16,
                            batch_timeout_ms=2.5, replicas=4, deadline_ms=200)  # fmt: skip
        assert found["BatchedModel"] == {"max_batch_size": 16, "batch_timeout": 0.0025}
        assert found["ls.LitServer"] == {
            "accelerator": "cuda",
            "devices": [1, 3],
            "workers_per_device": 2,
            "timeout": 0.2,
        }

    def test_waits_for_ever_where_there_is_no_deadline(self):
        found, _ = exported("litserve", {"device": "cpu"})
        assert found["ls.LitServer"]["timeout"] is False

    def test_is_not_given_a_deadline_that_it_would_refuse(self):
        found, warnings = exported("litserve", batch_timeout_ms=10, deadline_ms=5)
        assert found["ls.LitServer"]["timeout"] is False
        assert any(line.startswith("deadline_ms=5 is left out") for line in warnings)

    def test_says_so_where_it_cannot_deal_the_replicas_out(self):
        found, warnings = exported("litserve", {"device": "cuda:0,cuda:1"}, replicas=3)
        assert found["ls.LitServer"]["workers_per_device"] == 2
        assert any("4 in place of 3 replicas" in line for line in warnings)


class TestBentoML:
    def test_never_gets_the_batch_timeout_as_its_bound_on_latency(self):
        found, warnings = exported("bentoml", max_batch_size=16, batch_timeout_ms=2.5)
        assert found["bentoml.api"] == {"batchable": True, "max_batch_size": 16}
        assert any(line.startswith("batch_timeout_ms=2.5 is left out") for line in warnings)

    @pytest.mark.parametrize(
        ("knobs", "bound_ms", "said"),
        [
            ({"policy": "deadline", "slo_ms": 49.2}, 50, "max_latency_ms is slo_ms=49.2"),
            ({"policy": "deadline", "slo_ms": 9, "deadline_ms": 5}, 9, "deadline_ms=5 is left out"),
            ({"deadline_ms": 100}, 100, "max_latency_ms is deadline_ms=100"),
            ({"slo_ms": 50}, None, "slo_ms=50 is left out: policy timeout"),
        ],
    )
    def test_gets_the_bound_on_latency_that_the_setting_knows_of(self, knobs, bound_ms, said):
        found, warnings = exported("bentoml", **knobs)
        assert found["bentoml.api"].get("max_latency_ms") == bound_ms
        assert any(line.startswith(said) for line in warnings)

    def test_is_refused_a_batch_of_one_which_it_would_refuse(self):
        with pytest.raises(InputError, match="max_batch_size must be >= 2, but got 1"):
            exported("bentoml", max_batch_size=1)

    def test_has_room_for_what_runs_beside_what_waits(self):
        found, _ = exported("bentoml", max_batch_size=16, max_queue_size=64, replicas=2)
        assert found["bentoml.service"] == {"workers": 2, "traffic": {"max_concurrency": 96}}

    def test_gets_the_devices_in_the_order_of_the_replicas(self):
        found, _ = exported("bentoml", {"device": "cuda:1,cuda:0"}, replicas=3)
        assert found["DEVICES"] == ["cuda:1", "cuda:0"]


class TestTorchServe:
    def test_gets_the_batch_the_delay_in_whole_milliseconds_and_the_workers(self):
        found, warnings = exported("torchserve", {"device": "cuda:0,cuda:1"}, max_batch_size=16,
                                   batch_timeout_ms=2.5, execute_timeout_ms=1500)  # fmt: skip
        assert found == {
            "minWorkers": 2,
            "maxWorkers": 2,
            "batchSize": 16,
            "maxBatchDelay": 3,
            "jobQueueSize": 2**31 - 1,
            "responseTimeout": 2,
            "deviceType": "gpu",
            "deviceIds": [0, 1],
        }
        assert warnings == ("batch_timeout_ms=2.5 becomes 3: TorchServe takes whole milliseconds",)

    @pytest.mark.parametrize(
        ("size", "timeout_ms", "delay_ms"), [(32, 0, 1), (2, 0, 0), (1, 0, 0), (32, 0.2, 1)]
    )
    def test_has_a_delay_wherever_batches_of_more_than_two_need_one(
        self, size, timeout_ms, delay_ms
    ):
        knobs = {"max_batch_size": size, "batch_timeout_ms": timeout_ms}
        found, warnings = exported("torchserve", {"device": "cpu"}, **knobs)
        assert found["maxBatchDelay"] == delay_ms
        assert bool(warnings) == (delay_ms != timeout_ms)


class TestDynbatch:
    def test_the_function_it_writes_makes_the_batcher_that_was_measured(self):
        every = {key: value for knob in KNOBS.values() for key, value in knob.items()}
        every |= {"max_batch_size": 9, "policy": "adaptive"}
        done = export(settings_of({"device": "cpu"}, **every), "dynbatch", "x.toml")
        assert done.warnings == ()
        names = {}
        exec(compile(done.text, "exported.py", "exec"), names)  # noqa: S102 - it is ours
        with names["make_batcher"](lambda payloads: payloads) as batcher:
            assert batcher.submit("x").result() == "x"
        found = read("dynbatch", done.text)
        wanted = settings_of(**every).batcher.model_dump()
        limit_ms = wanted.pop("execute_timeout_ms")
        assert found["FaultTolerance"] == {"execute_timeout_ms": limit_ms}
        given = found["DynamicBatcher"]
        assert {key: given[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("device", "count"),
    [("cpu", 1), ("cpu", 3), ("cuda:0,cuda:1", None), ("cuda:0,cuda:1", 5), ("cuda:0,cuda:1", 1)],
)
def test_replicas_are_dealt_out_as_the_batcher_deals_them(monkeypatch, device, count):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    model = CallableModel(list)
    model.uses_torch = True
    monkeypatch.setattr(
        "batching.workers.replicas.make_executor",
        lambda model, placement, clock: SimpleNamespace(placement=placement),
    )
    groups = executors_for(model, device, "fp32", count, 1, None, max_batch_size=1)
    dealt = [group[0].placement.device for group in groups]
    found = replicas(settings_of({"device": device}, replicas=count))
    assert {group.device: group.count for group in found} == {d: dealt.count(d) for d in dealt}


class TestTheCommand:
    @pytest.fixture
    def dynbatch(self, monkeypatch, capsys, tmp_path):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "r.toml").write_text("[batcher]\nmax_batch_size = 16\nin_flight = 2\n")

        def run(*arguments):
            monkeypatch.setattr(sys, "argv", ["dynbatch", *map(str, arguments)])
            code = cli.run()
            return code, *capsys.readouterr()

        return run

    def test_puts_the_file_on_stdout_and_what_it_leaves_out_on_stderr(self, dynbatch, to):
        code, out, err = dynbatch("export", "r.toml", "--to", to)
        assert code == 0
        assert read(to, out)
        assert "r.toml" in out.splitlines()[0]
        assert ("warning: in_flight=2" in err) == (to != "dynbatch")

    def test_writes_the_same_to_a_file(self, dynbatch, tmp_path):
        _, out, _ = dynbatch("export", "r.toml", "--to", "triton", "--quiet")
        code, nothing, err = dynbatch("export", "r.toml", "--to", "triton", "--out", "d/c.pbtxt")
        assert (code, nothing) == (0, "")
        assert (tmp_path / "d" / "c.pbtxt").read_text() == out
        assert "written: d/c.pbtxt, in a new folder\n" in err
        _, _, err = dynbatch("export", "r.toml", "--to", "triton", "--out", "d/c.pbtxt")
        assert "written: d/c.pbtxt\n" in err

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ('model = "resnet50"\ndevice = "cuda:0"', "model resnet50, device cuda:0"),
            ('device = "cuda:0"\ndtype = "fp16"', "device cuda:0, dtype fp16"),
            ('device = "cuda:0"\nengine = "compile"', "device cuda:0, engine compile"),
            ('device = "cpu"', "device cpu"),
        ],
    )
    def test_names_what_the_file_says_and_no_default(self, dynbatch, tmp_path, table, said):
        (tmp_path / "r.toml").write_text(f"[model]\n{table}\n[batcher]\nmax_batch_size = 8\n")
        _, out, _ = dynbatch("export", "r.toml", "--to", "triton")
        assert out.splitlines()[1] == f"# For {said}."

    def test_takes_the_recommendation_of_a_tunings_folder(self, dynbatch, tmp_path):
        (tmp_path / "tuned").mkdir()
        (tmp_path / "r.toml").rename(tmp_path / "tuned" / "recommended.toml")
        code, out, _ = dynbatch("export", "tuned", "--to", "triton")
        assert (code, out.split(",")[0]) == (0, "# recommended.toml")

    def test_exports_for_the_device_that_is_asked_for_in_place_of_the_files(
        self, dynbatch, tmp_path
    ):
        (tmp_path / "r.toml").write_text('[model]\ndevice = "cpu"\n')
        _, out, err = dynbatch("export", "r.toml", "--to", "triton", "--device", "cuda:1,cuda:2")
        groups = read("triton", out)["instance_group"]
        assert [(group["kind"], group["gpus"]) for group in groups] == [
            ("KIND_GPU", [1]),
            ("KIND_GPU", [2]),
        ]
        assert "auto" not in err

    def test_quiet_says_nothing_beside_the_file(self, dynbatch):
        _, _, err = dynbatch("export", "r.toml", "--to", "triton", "--quiet")
        assert err == ""

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["r.toml", "--to", "tgi"], 2, "--to must be one of triton, ray-serve, .* got 'tgi'"),
            (["none.toml", "--to", "triton"], 2, r"none\.toml: cannot be read"),
            ([".", "--to", "triton"], 2, r"a tuning that has recommended\.toml, but \. has none"),
            (["r.toml"], 2, "--to"),
            (["--to", "triton"], 2, r"CONFIG\.toml"),
            (["r.toml", "--to", "triton", "--out", "r.toml/x"], 1, "cannot be written"),
        ],
    )
    def test_bad_input_is_one_line(self, dynbatch, arguments, code, message):
        found, out, err = dynbatch("export", *arguments)
        assert found == code
        assert out == ""
        assert re.search(message, err.splitlines()[-1])
        assert "Traceback" not in err
