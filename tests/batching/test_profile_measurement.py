"""Measuring a profile: exact on a virtual clock, adaptive, within its budget, through a batcher."""

import math
import threading

import numpy as np
import pytest
import torch

from batching import BatchExecutionError, ConfigError, Placement, RealClock, VirtualClock
from batching.execution.devices import usable_cores
from batching.models import AffineModel, RooflineModel, SyntheticModel
from batching.models.torch_model import TokenModel
from batching.profiles import ServiceProfile, measure_profile
from batching.profiles.callers import Callers
from batching.profiles.plan import LEAST_SAMPLES, MOST_SAMPLES, sizes_up_to, visits_a_round
from tests.batching.profiled import NoisyModel, affine, measured


class TestSizes:
    def test_are_the_powers_of_two_those_between_them_and_then_all_others(self):
        assert sizes_up_to(16) == ([1, 2, 4, 8, 16], [3, 6, 12], [5, 7, 9, 10, 11, 13, 14, 15])

    def test_include_the_limit_itself(self):
        assert sizes_up_to(10) == ([1, 2, 4, 8, 10], [3, 6], [5, 7, 9])
        assert sizes_up_to(12) == ([1, 2, 4, 8, 12], [3, 6], [5, 7, 9, 10, 11])
        assert sizes_up_to(1) == ([1], [], [])


class TestExactModels:
    def test_give_exact_times_and_no_overhead(self):
        profile = measured(affine)
        assert set(profile.sizes) > {*range(1, 50), 64, 96, 128}
        for size in range(1, 129):  # T is linear, so that interpolation is exact too
            assert profile.total_s(size) == pytest.approx(0.005 + 0.0001 * size, abs=1e-9)
            assert profile.quantile_s(size, 0.01) == profile.quantile_s(size, 0.99)
        assert {s.collate_s + s.deliver_s + s.wake_s for s in profile.samples} == {0.0}
        assert {*profile.wake_s, *profile.timer_s, *profile.turn_s} == {0.0}

    def test_are_certain_after_the_least_number_of_samples_and_cost_no_more(self):
        profile = measured(affine, max_batch_size=32)
        assert {len(some) for some in profile.curve().samples.values()} == {LEAST_SAMPLES}
        assert profile.uncertain_sizes == ()
        assert profile.spent_s < 0.5 * profile.budget_s

    def test_that_are_jagged_are_seen_at_every_size(self):
        class Jagged(SyntheticModel):
            def batch_s(self, size):
                return 0.002 + 0.0001 * size + (0.0005 if size % 4 else 0.0)

        profile = measured(lambda clock: Jagged("jagged", clock), max_batch_size=32)
        jagged = Jagged("jagged", VirtualClock())
        assert [profile.total_s(b) for b in range(1, 33)] == pytest.approx(
            [jagged.batch_s(b) for b in range(1, 33)]
        )
        assert profile.total_s(15) > profile.total_s(16)

    def test_agree_with_the_profile_made_without_measuring(self):
        found = measured(lambda clock: RooflineModel(0.0005, 0.004, 0.00025, clock))
        stated = ServiceProfile.of_model(
            RooflineModel(0.0005, 0.004, 0.00025, VirtualClock()), max_batch_size=128
        )
        assert found.peak_rps == pytest.approx(stated.peak_rps)
        assert found.knee == stated.knee
        assert [found.total_s(b) for b in found.sizes] == pytest.approx(
            [stated.total_s(b) for b in found.sizes], abs=1e-9
        )

    def test_measure_the_same_with_the_same_seed_in_an_order_that_is_random(self):
        first, again, other = (measured(affine, seed=seed) for seed in (3, 3, 4))
        order = [s.size for s in first.samples]
        assert order == [s.size for s in again.samples]
        assert order != [s.size for s in other.samples]
        assert order[:14] != sorted(order[:14])


class TestSteps:
    """Each step of a measurement, of models that take times that are easy to add up."""

    @staticmethod
    def steps(model, **options):
        """What `on_step` is told, and the profile; the clock is at 1,000 s at first."""
        clock, steps = VirtualClock(1000.0), []
        profile = measure_profile(
            model(clock), Placement(), clock, callers=False, on_step=steps.append, **options
        )
        return steps, profile

    def test_sizes_are_tried_twice_and_then_visited_in_rounds_with_four_overheads(self):
        steps, profile = self.steps(
            lambda clock: AffineModel(0.01, 0.0, clock), max_batch_size=4, budget_s=20.0
        )
        tried = [step for step in steps if step.elapsed_s < 0.0799]
        assert [step.size for step in tried] == [1, 1, 2, 2, 4, 4, 3, 3]
        assert [step.largest for step in tried] == [1, 1, 1, 1, 2, 2, 4, 4]
        assert [step.elapsed_s for step in tried] == pytest.approx([i / 100 for i in range(8)])
        assert {(step.batches, step.budget_s) for step in tried} == {(0, 20.0)}
        cold = profile.cold_start
        assert (cold.first_request_s, cold.warm_up_s) == pytest.approx((0.01, 0.08))
        assert cold.sizes == (1, 2, 3, 4)
        # 30 rounds of the four sizes, of which the first twelve have four overheads.
        sizes = [sample.size for sample in profile.samples]
        assert len(steps) == 8 + 30 * 4 + 48
        assert all(sorted(sizes[i : i + 4]) == [1, 2, 3, 4] for i in range(0, 120, 4))
        assert [len(x) for x in (profile.wake_s, profile.timer_s, profile.turn_s)] == [48] * 3
        # An overhead is two batches, an idle time of 0.5 to 5 ms and a hold of 0.5 to 4 ms.
        ends_s = [step.elapsed_s for step in steps[9:]] + [profile.spent_s]
        lasted = np.array(
            [end - step.elapsed_s for step, end in zip(steps[8:], ends_s, strict=True)]
        )
        overheads = lasted[lasted > 0.0101] - 0.02
        assert len(overheads) == 48
        assert 0.001 <= overheads.min() < 0.0025
        assert 0.0075 < overheads.max() <= 0.009
        assert overheads.mean() == pytest.approx(0.005, abs=0.0008)
        assert profile.spent_s == pytest.approx(0.08 + 1.2 + lasted[lasted > 0.0101].sum())
        assert [step.batches for step in steps][-1] in {119, 120}
        assert profile.samples[0].at_s >= 0.08
        assert profile.samples[-1].at_s <= profile.spent_s - 0.01 + 1e-6

    def test_each_part_of_a_batch_is_timed_by_itself(self):
        class InParts(AffineModel):
            def passing(self, seconds):
                self._clock.sleep_until(self._clock.now() + seconds)

            def prepare(self, placement):
                self.passing(5.0)

            def collate(self, payloads, staging):
                self.passing(0.002)
                return super().collate(payloads, staging)

            def split(self, outputs, count):
                self.passing(0.003)
                return super().split(outputs, count)

        _, profile = self.steps(lambda clock: InParts(0.01, 0.0, clock), max_batch_size=2)
        assert {sample[3:] for sample in profile.samples} == {(0.0, 0.002, 0.01, 0.003)}
        assert profile.cold_start.load_s == pytest.approx(5.0)
        assert profile.cold_start.first_request_s == pytest.approx(0.015)
        assert profile.spent_s < 5.0

    @pytest.mark.parametrize(
        ("budget_s", "times"),
        [pytest.param(50.0, 1, id="2 % of the budget"), pytest.param(50.1, 2, id="less than that")],
    )
    def test_a_short_batch_is_tried_twice(self, budget_s, times):
        steps, _ = self.steps(
            lambda clock: AffineModel(1.0, 0.0, clock), max_batch_size=2, budget_s=budget_s
        )
        assert [step.size for step in steps if not step.batches][: 2 * times] == [1] * times + [
            2
        ] * times

    @pytest.mark.parametrize(
        ("of_size_s", "limit", "budget_s", "sizes"),
        [
            # After 1 s of size 1: the 2 s of size 2, and two rounds of 3 s.
            pytest.param(lambda n: n, 2, 9.0, (1, 2), id="two rounds fit"),
            pytest.param(lambda n: n, 2, 8.9, (1,), id="two rounds do not fit"),
            # After twice six sizes of 1 s: 1.25 s for size 5, and 35 rounds of 7.25 s.
            pytest.param(lambda n: 1, 8, 267.0, (1, 2, 3, 4, 5, 6, 8), id="35 rounds fit"),
            pytest.param(lambda n: 1, 8, 266.9, (1, 2, 3, 4, 6, 8), id="35 do not"),
            # After two of size 5: 7/6 s for size 7, and 35 rounds of 8 1/6 s, are 301 s.
            pytest.param(lambda n: 1, 8, 300.9, (1, 2, 3, 4, 5, 6, 8), id="nor with size 7"),
            pytest.param(lambda n: 1, 8, 301.1, (1, 2, 3, 4, 5, 6, 7, 8), id="all"),
        ],
    )
    def test_sizes_are_added_while_the_budget_holds_their_rounds(
        self, of_size_s, limit, budget_s, sizes
    ):
        class Stated(SyntheticModel):
            def batch_s(self, size):
                return float(of_size_s(size))

        _, profile = self.steps(
            lambda clock: Stated("stated", clock), max_batch_size=limit, budget_s=budget_s
        )
        assert profile.sizes == sizes
        if max(sizes) < limit:
            assert (profile.stopped, profile.stopped_at) == ("budget", 2)
        else:
            assert (profile.stopped, profile.stopped_at) == ("limit", limit)

    @pytest.mark.parametrize(
        ("batch_s", "a_round"),
        [
            pytest.param(0.5, 4, id="four at most"),
            # A tenth of the budget, 5 s, holds two of 2 s and 9 ms.
            pytest.param(1.0, 2, id="as many as fit a tenth of the budget"),
            pytest.param(10.0, 1, id="one in any case, once"),
        ],
    )
    def test_overheads_of_a_slow_model_are_seldom_measured(self, batch_s, a_round):
        _, profile = self.steps(
            lambda clock: AffineModel(batch_s, 0.0, clock), max_batch_size=1, budget_s=50.0
        )
        assert profile.spent_s <= 50.0
        if batch_s == 10.0:
            assert len(profile.turn_s) == 1
        else:
            rounds = profile.spent_s / (batch_s * (1 + 2 * a_round))
            assert len(profile.turn_s) == pytest.approx(a_round * rounds, abs=a_round)


class TestAdaptivity:
    def test_more_samples_where_the_spread_is(self):
        profile = measured(
            lambda clock: NoisyModel(
                clock, lambda n: 0.002 + 0.001 * n, lambda n: 0.1 if n in {4, 16} else 0.002
            ),
            max_batch_size=16,
        )
        counts = {size: len(some) for size, some in profile.curve().samples.items()}
        noisy, quiet = {counts.pop(4), counts.pop(16)}, set(counts.values())
        assert min(noisy) > 2 * max(quiet)
        assert profile.uncertain_sizes == ()
        for size in profile.sizes:
            assert profile.total_s(size) == pytest.approx(0.002 + 0.001 * size, rel=0.05)

    def test_a_spread_that_no_number_settles_ends_at_the_most(self):
        profile = measured(
            lambda clock: NoisyModel(clock, lambda n: 0.001, lambda n: 1.0),
            max_batch_size=2,
            budget_s=1000.0,
        )
        counts = [len(some) for some in profile.curve().samples.values()]
        assert all(MOST_SAMPLES <= count < MOST_SAMPLES + 10 for count in counts)
        assert profile.uncertain_sizes == (1, 2)

    def test_visits_are_in_proportion_to_what_each_size_needs_and_nobody_sits_out(self):
        rng = np.random.default_rng(0)
        spreads = (0.0, 0.02, 0.3, 5.0)
        times = {(n, None): list(rng.uniform(1, 1 + s, 40)) for n, s in enumerate(spreads, 1)}
        visits = list(visits_a_round(times).values())
        assert visits[:2] == [1, 1]
        assert 1 < visits[2] < 8
        assert visits[3] == 8

    def test_a_slow_machine_in_the_second_half_slows_every_size_alike(self):
        class Drifting(SyntheticModel):
            def batch_s(self, size):
                return (0.01 + 0.001 * size) * (1.5 if self._clock.now() > 3.0 else 1.0)

        profile = measured(lambda clock: Drifting("d", clock), max_batch_size=16, budget_s=10.0)
        means = [
            np.mean([s.total_s for s in some]) / (0.01 + 0.001 * size)
            for size, some in profile.curve().samples.items()
        ]
        assert max(means) > 1.05
        assert max(means) / min(means) < 1.02


class TestCallers:
    def test_send_at_half_of_the_peak_and_change_nothing_of_an_exact_model(self):
        profile = measured(affine, max_batch_size=8, callers=True)
        assert profile.callers_rps == pytest.approx(0.5 * 8 / 0.0058)
        assert profile.sizes == tuple(range(1, 9))
        for size in profile.sizes:
            assert profile.total_s(size) == pytest.approx(0.005 + 0.0001 * size, abs=1e-9)

    def test_of_a_model_whose_first_batches_took_no_time_are_as_many_as_one_sender_manages(self):
        class Skips(SyntheticModel):
            batches = 0

            def batch_s(self, size):
                self.batches += 1
                return 0.001 if self.batches > 2 else 0.0

        profile = measured(lambda clock: Skips("skips", clock), max_batch_size=1, callers=True)
        assert profile.callers_rps == 5000.0

    def test_are_as_many_as_asked_for_and_stop(self):
        clock = VirtualClock()
        callers = Callers(clock, 2000.0, seed=1)
        callers.start()
        clock.sleep_until(3.0)
        callers.stop()
        assert callers.sent == pytest.approx(6000, abs=4 * 6000**0.5)
        sent = callers.sent
        clock.sleep_until(4.0)
        assert callers.sent == sent

    def test_stop_when_the_measurement_fails(self):
        class Breaks(AffineModel):
            batches = 0

            def run(self, inputs):
                self.batches += 1
                if self.batches > 30:
                    raise OSError("no disk")
                return super().run(inputs)

        with pytest.raises(BatchExecutionError):
            measured(lambda clock: Breaks(0.001, 0.0, clock), max_batch_size=4, callers=True)
        assert not [t for t in threading.enumerate() if t.name == "dynbatch-callers"]


class TestBudget:
    @pytest.mark.parametrize("item_s", [0.001, 0.02, 0.1, 1.0])
    def test_is_kept(self, item_s):
        profile = measured(lambda clock: AffineModel(0.0, item_s, clock))
        assert profile.spent_s <= profile.budget_s

    def test_a_slow_model_keeps_large_sizes_at_the_cost_of_those_between(self):
        profile = measured(lambda clock: AffineModel(0.0, 0.1, clock))
        assert profile.sizes == (1, 2, 4, 8, 16, 32)
        assert (profile.stopped, profile.stopped_at) == ("budget", 64)
        assert all(profile.curve().samples.values())

    @pytest.mark.parametrize("limit", [1, 65536])
    def test_a_limit_at_either_end_of_its_range_is_taken(self, limit):
        # Of so slow a model nothing but batches of one fits the budget.
        profile = measured(
            lambda clock: AffineModel(1.0, 1.0, clock), max_batch_size=limit, budget_s=3.0
        )
        assert profile.sizes == (1,)

    def test_one_batch_longer_than_the_budget_is_measured_all_the_same(self):
        profile = measured(lambda clock: AffineModel(60.0, 0.0, clock), budget_s=1.0)
        assert profile.sizes == (1,)
        assert profile.total_s(1) == pytest.approx(60.0)
        assert profile.error(1) == math.inf
        assert profile.uncertain_sizes == (1,)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"budget_s": 0.0}, "budget_s must be > 0, but got 0"),
            ({"budget_s": math.nan}, "budget_s must be > 0, but got nan"),
            ({"max_batch_size": 0}, "max_batch_size must be from 1 to 65536, but got 0"),
            ({"max_batch_size": 65537}, "max_batch_size must be from 1 to 65536, but got 65537"),
            ({"seed": -1}, "seed must be >= 0, but got -1"),
            ({"lengths": (8,)}, "lengths go with a model of sequences"),
        ],
    )
    def test_an_argument_out_of_its_range_is_refused(self, options, message):
        with pytest.raises(ConfigError, match=message):
            measured(affine, **options)


class OutOfMemoryError(RuntimeError):
    """Named as torch's own, which is how it is recognised."""


class SmallMemory(AffineModel):
    """Holds batches of `fits` at most; from its `shrinks`-th batch on, of 8 at most."""

    def __init__(self, clock, fits, shrinks=math.inf):
        super().__init__(0.005, 0.0001, clock)
        self._fits, self._shrinks = fits, shrinks
        self.batches = 0

    def run(self, inputs):
        self.batches += 1
        if len(inputs) > (8 if self.batches >= self._shrinks else self._fits):
            raise OutOfMemoryError
        return super().run(inputs)


class TestFailures:
    def test_the_size_that_runs_out_of_memory_ends_the_profile_below_it(self):
        profile = measured(lambda clock: SmallMemory(clock, 50), max_batch_size=128)
        assert profile.sizes == tuple(range(1, 33))
        assert (profile.stopped, profile.stopped_at) == ("memory", 64)
        assert profile.total_s(32) == pytest.approx(0.0082)

    def test_memory_that_shrinks_on_the_way_takes_its_sizes_with_it(self):
        profile = measured(lambda clock: SmallMemory(clock, 99, shrinks=100), max_batch_size=32)
        assert profile.sizes == tuple(range(1, 9))
        assert profile.stopped == "memory"
        assert profile.stopped_at == 9

    def test_a_length_that_runs_out_of_memory_on_the_way_leaves_the_others_their_sizes(self):
        class Sequences(AffineModel):
            batches = 0

            def make_input(self, rng):
                return 0

            def input_of_length(self, rng, length):
                return length

            def run(self, inputs):
                self.batches += 1
                if self.batches >= 100 and inputs[0] == 16 and len(inputs) >= 4:
                    raise OutOfMemoryError
                return super().run(inputs)

        profile = measured(
            lambda clock: Sequences(0.005, 0.0001, clock), max_batch_size=8, lengths=(4, 16)
        )
        assert profile.curve(16).sizes == (1, 2)
        assert profile.curve(4).sizes == (1, 2, 4, 8)
        assert profile.sizes == tuple(range(1, 9))
        assert {len(some) for some in profile.curve(4).samples.values()} == {LEAST_SAMPLES}
        assert profile.stopped == "limit"

    def test_a_size_that_the_model_refuses_ends_the_profile_below_it(self):
        class Engine(AffineModel):
            def run(self, inputs):
                if len(inputs) > 9:
                    raise ValueError("nine\nat most")
                return super().run(inputs)

        profile = measured(lambda clock: Engine(0.005, 0.0001, clock), max_batch_size=128)
        assert profile.sizes == tuple(range(1, 9))
        assert (profile.stopped, profile.stopped_at) == ("refused", 16)
        assert profile.refusal == "ValueError: nine at most"

    def test_a_smaller_size_that_raises_and_results_that_are_missing_are_errors(self):
        class Odd(AffineModel):
            def run(self, inputs):
                if len(inputs) == 3:
                    raise ValueError("no three")
                return super().run(inputs)

        class Columns(AffineModel):
            def split(self, outputs, count):
                return outputs[:1]

        with pytest.raises(BatchExecutionError, match="ValueError: no three"):
            measured(lambda clock: Odd(0.005, 0.0001, clock), max_batch_size=8)
        with pytest.raises(BatchExecutionError, match="must return 2 results, but got 1"):
            measured(lambda clock: Columns(0.005, 0.0001, clock), max_batch_size=8)

    def test_a_model_that_raises_is_an_error_that_says_what(self):
        class Broken(AffineModel):
            def run(self, inputs):
                raise OSError("no disk")

        with pytest.raises(BatchExecutionError, match="OSError: no disk"):
            measured(lambda clock: Broken(0.001, 0.0, clock))

    def test_a_model_that_cannot_make_an_input_is_an_error_that_says_so(self):
        class Broken(AffineModel):
            def make_input(self, rng):
                raise SystemExit(1)

        with pytest.raises(BatchExecutionError, match="raised while it made an input: SystemExit"):
            measured(lambda clock: Broken(0.001, 0.0, clock))


class TestInterrupts:
    @staticmethod
    def interrupted_at(number):
        def on_step(step):
            if step.batches >= number:
                raise KeyboardInterrupt

        return measured(affine, max_batch_size=8, on_step=on_step)

    def test_after_every_size_was_seen_what_was_measured_is_kept(self):
        profile = self.interrupted_at(40)
        assert profile.interrupted
        assert len(profile.samples) == 40
        assert profile.sizes == tuple(range(1, 9))

    @pytest.mark.parametrize("number", [0, 3])
    def test_before_that_nothing_is(self, number):
        with pytest.raises(KeyboardInterrupt):
            self.interrupted_at(number)


class TestSequences:
    @staticmethod
    def model(**options):
        class Sum(torch.nn.Module):
            def forward(self, input_ids, attention_mask):
                return (input_ids * attention_mask).sum(1, keepdim=True)

        return TokenModel(
            Sum,
            lambda rng: torch.from_numpy(rng.integers(1, 9, size=rng.integers(3, 30))),
            name="sum",
            **options,
        )

    def profile(self, model, **options):
        return measure_profile(
            model, Placement(), RealClock(), budget_s=0.3, max_batch_size=4, **options
        )

    def test_torch_had_one_core_less_and_the_profile_says_so(self):
        torch.set_num_threads(usable_cores() + 1)
        profile = self.profile(self.model())
        assert profile.subject.torch_threads == max(1, usable_cores() - 1)

    def test_lengths_are_measured_by_themselves_besides_the_models_own(self):
        profile = self.profile(self.model(), lengths=(16, 4))
        assert profile.lengths == (4, 16)
        assert profile.curve(16).sizes == (1, 2, 4)
        assert profile.sizes == (1, 2, 3, 4)
        assert profile.subject.engine == "eager"
        assert profile.cold_start.load_s > 0

    def test_a_batch_is_of_requests_that_may_share_one(self):
        profile = self.profile(self.model(length_buckets=(8, 16, 32)))
        assert profile.sizes == (1, 2, 3, 4)

    def test_an_input_of_a_length_has_that_length(self):
        model = self.model()
        for length in (1, 7, 100):
            assert len(model.input_of_length(np.random.default_rng(0), length)) == length


def test_real_overheads_are_measured_as_often_as_is_stated_and_are_not_nothing():
    clock = RealClock()
    profile = measure_profile(
        AffineModel(0.0002, 0.0, clock), Placement(), clock, budget_s=2.0, max_batch_size=2
    )
    for times_s in (profile.wake_s, profile.timer_s, profile.turn_s):
        assert 8 <= len(times_s) <= 48
        assert max(times_s) > 0.0
    assert min(s.execute_s for s in profile.samples) >= 0.0002
