"""A reference run's course without a device: its budget, its order, its processes."""

import sys
import tarfile
import threading
from types import SimpleNamespace

import pytest

from tests.reference import course
from tests.reference.budget import Cost, share
from tests.reference.course import Ended, Launcher, due
from tests.reference.folder import CUT, DONE, FAILED, WAITING, Folder, OtherDeviceError
from tests.reference.plan import Step, plan_for
from tests.reference.samples import H100, STEPS, replayed


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

    outcome = course.run(steps, folder, budget_s, launch, tell=lambda _: None, now=clock)
    return outcome.complete, runs


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
        assert share([Cost(10, 20, 5)], 500).limit_s == 60

    def test_lets_a_step_overrun_a_little_and_twice_where_nothing_is_of_use_without_it(self):
        costs = [Cost(10, 20, 5), Cost(10, 60, 20)]
        assert share(costs, 100).limit_s == pytest.approx(33)
        assert share(costs, 100, vital=True).limit_s == pytest.approx(60)

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

    @pytest.mark.parametrize(("call", "budget_s"), [(1, 540.0), (2, 110.0)])
    def test_of_a_call_holds_all_of_its_steps_at_their_longest(self, call, budget_s):
        steps = [step for step in plan_for("cuda").steps() if step.call == call]
        longest_s = sum(max(s.cost.most_s for s in group) for group in course.together(steps))
        concluding_s = 17.0
        if call == 1:
            assert longest_s + concluding_s <= budget_s
        else:  # shortened a little
            assert longest_s <= budget_s
            least_s = sum(step.cost.fixed_s + step.cost.least_s for step in steps)
            assert least_s + concluding_s <= budget_s

    def test_of_the_first_call_is_not_shared_with_the_steps_of_the_second(self, folder):
        later = Step("bench", "bench 0.5", Cost(10, 60, 20), "replays", call=2)
        _, runs = carry_out([*STEPS, later], folder, 150)
        given = dict(runs)
        assert given["bench"].work_s == 60
        assert "bench 0.5" not in given
        _, runs = carry_out([later], folder, 45)
        assert dict(runs)["bench 0.5"].work_s == pytest.approx(35)


class TestStepsBesideEachOther:
    STEPS = (
        Step("tests", "gpu tests", Cost(10, 40, 5), "gpu_tests", beside="tests"),
        Step("tune", "tune", Cost(5, 30, 5), "tuning", beside="tests"),
        Step("bench", "bench", Cost(10, 20, 5), "replays"),
    )

    def test_run_at_the_same_time_and_each_is_noted(self, folder):
        both = threading.Barrier(2, timeout=20.0)

        def launch(step, given):
            if step.beside:
                both.wait()  # neither ends before the other has begun
            return Ended(FAILED if step.name == "tune" else DONE, 1.0)

        outcome = course.run(self.STEPS, folder, 500, launch, tell=lambda _: None)
        assert outcome == course.Outcome(complete=False, sane=True)
        assert [folder.steps[step.name]["state"] for step in self.STEPS] == [DONE, FAILED, DONE]

    def test_take_the_time_of_the_longer_one(self, folder):
        given = {}

        def launch(step, share):
            given[step.name] = share
            return Ended(DONE, 1.0)

        course.run(self.STEPS, folder, 80, launch, tell=lambda _: None, now=Clock())
        assert given["gpu tests"].work_s == 40
        assert given["bench"].work_s == 20

    def test_are_ended_together_by_an_interrupt(self, folder):
        stopped = threading.Event()

        def launch(step, given):
            if step.name == "tune":
                raise KeyboardInterrupt
            assert stopped.wait(20.0)
            return Ended(CUT, 1.0)

        with pytest.raises(KeyboardInterrupt):
            course.run(self.STEPS, folder, 500, launch, tell=lambda _: None, stop=stopped.set)


class TestTheGate:
    @pytest.mark.parametrize("state", [FAILED, CUT])
    def test_that_stays_shut_leaves_the_tests_and_nothing_else(self, folder, state):
        steps = [*STEPS, Step("tests", "gpu tests", Cost(10, 20, 5), "gpu_tests")]
        runs = []

        def launch(step, given):
            runs.append(step.name)
            return Ended(state if step.name == "sanity" else DONE, 1.0, "off by 0.2")

        outcome = course.run(steps, folder, 500, launch, tell=lambda _: None)
        assert outcome == course.Outcome(complete=False, sane=False)
        assert runs == ["sanity", "gpu tests"]
        assert folder.steps["sanity"]["reason"] == "off by 0.2"

    def test_is_tried_again_by_the_next_call(self, folder):
        carry_out(STEPS, folder, 500, {"sanity": (FAILED, "off by 0.2")})
        assert due(STEPS, folder.steps)[0].name == "sanity"


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

    def test_does_first_what_has_not_been_tried_then_what_was_cut_then_what_failed(self, folder):
        other = Step("models", "mlp", Cost(1, 1, 1), "profiles")
        late = Step("trace", "trace", Cost(1, 1, 1), "tracing")
        noted = {
            "sanity": {"state": DONE},
            "profile eager": {"state": CUT},
            "profile cudagraph": {"state": DONE},
            "bench": {"state": FAILED},
            "mlp": {"state": CUT},
        }
        names = [step.name for step in due([*STEPS, other, late], noted)]
        assert names == ["profile eager", "trace", "mlp", "bench"]

    def test_counts_what_was_cut_before_it_kept_anything_as_not_tried(self, folder):
        carry_out(STEPS, folder, 105, {"bench": (CUT, "ended after 60 s, its most")})
        assert folder.steps["bench"]["state"] == WAITING
        folder.write("bench", {"bursty 0.7": replayed(0.01)})
        carry_out(due(STEPS, folder.steps), folder, 105, {"bench": (CUT, "1 cell is left")})
        assert folder.steps["bench"]["state"] == CUT

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

    def test_that_lacks_what_it_builds_on_is_left_for_later(self, launched):
        ended = launched("import os\nprint('there must be a profile', flush=True)\nos._exit(5)")
        assert (ended.state, ended.reason) == (WAITING, "there must be a profile")

    def test_is_archived_while_it_runs(self, launched, monkeypatch, folder):
        monkeypatch.setattr(course, "_ARCHIVED_EVERY_S", 0.1)
        folder.write("capacity", {"window": {"trials": [1]}})
        launched("import time\ntime.sleep(0.5)")
        with tarfile.open(folder.archive_path) as tar:
            assert "h100/capacity.json" in tar.getnames()

    def test_that_takes_too_long_is_ended(self, launched):
        ended = launched("import time\ntime.sleep(60)", limit_s=0.3)
        assert ended.state == CUT
        assert "its most" in ended.reason
        assert ended.took_s < 20.0
