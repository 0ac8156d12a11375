"""What the parts of a reference run work out, without a device."""

from dataclasses import replace

import numpy as np
import pytest

from batching.execution.choose import make_executor
from tests.reference import device_trace, gpu_tests, profiles
from tests.reference.bisection import boundary, following
from tests.reference.naming import device_slug, profile_name
from tests.reference.plan import PARTS, plan_for
from tests.reference.samples import kernel
from tests.reference.sanity import UnfitError, agreement, judge
from tests.reference.step import Context, command_of


class TestThePlan:
    @pytest.mark.parametrize("device", ["cuda", "cpu"])
    def test_has_steps_of_the_parts_each_with_a_name_of_its_own(self, device):
        steps = plan_for(device).steps()
        assert {step.part for step in steps} <= set(PARTS)
        assert len({step.name for step in steps}) == len(steps)

    def test_begins_with_what_the_others_build_on(self):
        parts = [step.part for step in plan_for("cuda").steps()]
        assert set(parts) == set(PARTS)
        assert parts[0] == "sanity"
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


def looked_for(passes, start, least=0.0, most=30):
    """All attempts of a search, (value, whether it passed)."""
    tried = []
    while len(tried) < most and (value := following(tried, start, least)) is not None:
        tried.append((value, passes(value)))
    return tried


class TestTheBisection:
    @pytest.mark.parametrize("start", [900.0, 1000.0, 1300.0, 4000.0])
    def test_brackets_the_boundary_closely_from_wherever_it_begins(self, start):
        tried = looked_for(lambda value: value <= 1000.0, start)
        passed = max(value for value, met in tried if met)
        failed = min(value for value, met in tried if not met)
        assert passed <= 1000.0 < failed
        assert failed <= 1.045 * passed

    def test_begun_near_by_needs_few_attempts(self):
        assert len(looked_for(lambda value: value <= 1000.0, 980.0)) <= 4

    def test_goes_on_from_what_an_earlier_call_tried(self):
        tried = looked_for(lambda value: value <= 1000.0, 4000.0)
        for count in range(len(tried)):
            assert following(tried[:count], 4000.0) == tried[count][0]
        assert following(tried, 4000.0) is None

    def test_looks_for_nothing_between_loads_that_contradict_each_other(self):
        assert following([(100.0, True), (90.0, False)], 100.0) is None

    def test_ends_where_loads_become_too_low_to_tell_anything(self):
        tried = looked_for(lambda value: False, 20.0, least=5.0)
        assert len(tried) > 1
        assert min(value for value, _ in tried) >= 5.0

    def test_is_told_by_the_loads_that_were_offered(self):
        def trial(asked_rps, met):
            return {"asked_rps": asked_rps, "rate_rps": 1.07 * asked_rps, "met": met}

        trials = [trial(100.0, met=True), trial(108.0, met=False), trial(104.0, met=True)]
        found = boundary(trials)
        assert found["rate_rps"] == pytest.approx(1.07 * 104)
        assert found["missed_at_rps"] == pytest.approx(1.07 * 108)
        assert boundary(trials[:1])["missed_at_rps"] is None
        assert boundary(trials[1:2])["rate_rps"] is None


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


class TestAPartsTime:
    @pytest.mark.parametrize(
        ("what", "loading_s", "left_s"),
        [
            ("loading as long as was thought", 10.0, 20.0),
            ("loading that leaves less", 25.0, 13.0),
            ("loading that leaves nothing", 60.0, 1.0),
        ],
    )
    def test_to_measure_is_shortened_by(self, what, loading_s, left_s, folder, monkeypatch):
        now = [100.0]
        monkeypatch.setattr("tests.reference.step.time.monotonic", lambda: now[0])
        plan = plan_for("cpu")
        context = Context(plan, plan.steps()[0], folder, 20.0, until_s=140.0)
        now[0] += loading_s
        context.start()
        assert context.left_s == pytest.approx(left_s)


class TestAProfile:
    def test_that_was_cut_while_its_work_was_counted_is_not_measured_again(
        self, folder, monkeypatch
    ):
        plan = replace(plan_for("cpu"), profiled=2)
        step = next(step for step in plan.steps() if step.part == "profile")

        def cut(*arguments):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(profiles, "work_of", cut)
            with pytest.raises(KeyboardInterrupt):
                profiles.run(Context(plan, step, folder, 1.0), "mlp", "fp32", "eager")
        kept = folder.read("profile")["eager"]
        assert kept["peak_rps"] > 0
        assert kept["flops_per_request"] is None
        monkeypatch.setattr(profiles, "measure_quietly", cut)
        assert profiles.run(Context(plan, step, folder, 1.0), "mlp", "fp32", "eager") == ""
        found = folder.read("profile")["eager"]
        assert found["flops_per_request"] == 4 * 2 * 1024 * 1024
        assert found["peak_rps"] == kept["peak_rps"]


class TestTheGpuTests:
    def test_are_found_by_their_mark(self, tmp_path):
        (tmp_path / "test_a.py").write_text("pytestmark = pytest.mark.gpu")
        (tmp_path / "test_b.py").write_text("import uvicorn")
        (tmp_path / "reference").mkdir()
        (tmp_path / "reference" / "test_c.py").write_text("pytest.mark.gpu")
        assert [path.name for path in gpu_tests.marked(tmp_path)] == ["test_a.py"]

    def test_are_counted_with_the_first_line_of_what_failed(self):
        found = gpu_tests.counted(
            {
                "a::good": {"outcome": "passed", "seconds": 1.5, "why": ""},
                "a::bad": {"outcome": "failed", "seconds": 0.5, "why": "first"},
                "a::left": {"outcome": "skipped", "seconds": 0.0, "why": ""},
            }
        )
        assert (found["passed"], found["failed"], found["skipped"], found["hung"]) == (1, 1, 1, 0)
        assert found["seconds"] == 2.0
        assert found["failures"] == {"a::bad": "first"}

    @pytest.fixture
    def ran(self, tmp_path, monkeypatch, folder):
        """Run a file of tests as the part does; returns what it left out and what it kept."""
        written = tmp_path / "tests" / "test_some.py"
        written.parent.mkdir()

        def run(text, seconds=60.0):
            written.write_text(text, encoding="utf-8")
            monkeypatch.setattr(gpu_tests, "marked", lambda _: [written])
            monkeypatch.setattr(gpu_tests, "_NAMED_FROM", tmp_path)
            monkeypatch.setattr(gpu_tests, "_LONGEST_S", 1.0)
            monkeypatch.setattr(gpu_tests, "_LOOK_S", 0.05)
            plan = plan_for("cuda")
            context = Context(plan, plan.steps()[0], folder, seconds)
            return gpu_tests.run(context), folder.read("tests")

        return run

    def test_go_on_after_one_that_hangs_and_one_that_ends_the_process(self, ran):
        left_out, kept = ran(
            """
import os, time
import pytest

pytestmark = pytest.mark.gpu

def test_a(): pass
def test_hangs(): time.sleep(60)
def test_hangs_not(): pass
def test_dies(): os.kill(os.getpid(), 11)
def test_fails(): assert 1 == 2, "one is not two"
"""
        )
        outcomes = {test.partition("::")[2]: one for test, one in kept["tests"].items()}
        assert left_out == ""
        assert {name: one["outcome"] for name, one in outcomes.items()} == {
            "test_a": "passed",
            "test_hangs": "hung",
            "test_hangs_not": "passed",
            "test_dies": "failed",
            "test_fails": "failed",
        }
        assert outcomes["test_dies"]["why"] == "it ended the process: signal 11"
        assert "one is not two" in outcomes["test_fails"]["why"]

    def test_that_the_time_does_not_hold_are_left_and_named(self, ran):
        text = "import pytest, time\n@pytest.mark.gpu\ndef test_slow(): time.sleep(60)\n"
        left_out, kept = ran(text, seconds=0.5)
        assert "0 tests had been run by then" in left_out
        assert kept["total"] == 0


FINE = {"engine": "cudagraph", "rows": 25, "error": 1e-3, "allowed": 0.03, "mixed_up": 0}


class TestTheGate:
    def test_opens_where_rounding_explains_the_difference(self):
        judge(FINE)

    @pytest.mark.parametrize(
        ("what", "found", "said"),
        [
            ("results that are off", {"error": 0.2}, "but is off by 0.2 in the worst of 25 rows"),
            ("no numbers at all", {"error": 1e30}, "but is off by 1e\\+30"),
            ("somebody else's results", {"mixed_up": 3}, "3 of 25 rows are nearer to another's"),
        ],
    )
    def test_stays_shut_for(self, what, found, said):
        with pytest.raises(UnfitError, match=said):
            judge({**FINE, **found})

    @pytest.mark.parametrize(
        ("what", "spoil", "error", "mixed_up"),
        [
            ("right results", lambda rows: rows, 0.0, 0),
            ("rows that are exchanged", lambda rows: rows[::-1], None, 22),
            ("a row of no number", lambda rows: [rows[0] * np.nan, *rows[1:]], 1e30, 0),
        ],
    )
    def test_compares_each_row_with_its_own(self, what, spoil, error, mixed_up, monkeypatch):
        def spoiled(*arguments):
            executor = make_executor(*arguments)
            execute = executor.execute
            executor.execute = lambda payloads, batch: spoil(execute(payloads, batch))
            return executor

        monkeypatch.setattr("tests.reference.sanity.make_executor", spoiled)
        found = agreement(plan_for("cpu"))
        assert found["rows"] == 25
        assert found["mixed_up"] == mixed_up
        if error is not None:
            assert found["error"] == pytest.approx(error, abs=1e-5)
