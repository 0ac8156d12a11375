"""What a profile is computed from, by examples small enough to work out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest

from batching import BatchExecutionError, ConfigError, VirtualClock
from batching.execution.choose import make_executor
from batching.models import AffineModel, CallableModel, Placement
from batching.profiles import BatchSample
from batching.profiles.curve import Curve, Parts
from batching.profiles.draws import ServiceDraws, block_length
from batching.profiles.payloads import Payloads
from batching.profiles.plan import is_done, visits_a_round
from batching.profiles.rig import Rig
from batching.profiles.samples import correlation_length, falling_by_no_chance, relative_error

Z = 2.5758  # the 99.5 % quantile of the normal distribution


def curve(parts):
    """A curve through batches of the given parts: batch size -> (collate, execute, deliver)."""
    return Curve(
        BatchSample(0.0, size, None, 9.0, *times) for size, some in parts.items() for times in some
    )


class TestTheErrorOfAMedian:
    @pytest.mark.parametrize(
        ("times_s", "error"),
        [
            pytest.param(range(1, 8), math.inf, id="seven say nothing"),
            # c = 4.5 - z sqrt(8) / 2 = 0.86, rounded 1: from the first to the last.
            pytest.param(range(1, 9), 7 / (2 * Z) / 4.5, id="eight"),
            # c = 30.5 - z sqrt(60) / 2 = 20.52, rounded 21: from the 21st to the 40th.
            pytest.param(range(1, 61), 19 / (2 * Z) / 30.5, id="sixty"),
            # c = 51 - z sqrt(101) / 2 = 38.06: from the 38th to the 64th.
            pytest.param(range(1, 102), 26 / (2 * Z) / 51, id="an odd number"),
            pytest.param(range(101, 0, -1), 26 / (2 * Z) / 51, id="in another order"),
            pytest.param([0.25] * 30, 0.0, id="all alike"),
            pytest.param([0.0] * 30, 0.0, id="without time"),
        ],
    )
    def test_is_by_the_ranks_on_either_side(self, times_s, error):
        assert relative_error(list(times_s)) == pytest.approx(error)


class TestFalls:
    @pytest.mark.parametrize(
        ("values", "weights", "errors", "fitted"),
        [
            # Errors of 0.6 and 0.8 are one of 1.0 of the difference; three of them are no chance.
            ([3.0, 0.0], [1, 1], [0.6, 0.8], [1.5, 1.5]),
            ([3.01, 0.0], [1, 1], [0.6, 0.8], [3.01, 0.0]),
            ([3.0, 0.0], [1, 3], [0.6, 0.8], [0.75, 0.75]),
            # Two that were pooled, by 1 and 3, have an error of hypot(0.3, 3 * 0.4) / 4 = 0.309, of
            # which three are 0.928: 3.25 - 2.33 is within that, 3.25 - 2.32 is beyond.
            ([4.0, 3.0, 2.33], [1, 3, 4], [0.3, 0.4, 0.0], [2.79, 2.79, 2.79]),
            ([4.0, 3.0, 2.32], [1, 3, 4], [0.3, 0.4, 0.0], [3.25, 3.25, 2.32]),
            # What was pooled may be above what came before it.
            ([2.0, 3.0, 0.4, 5.0], [1, 1, 1, 1], [1, 1, 1, 1], [1.8, 1.8, 1.8, 5.0]),
            ([1.0, 2.0, 3.0], [1, 1, 1], [9, 9, 9], [1.0, 2.0, 3.0]),
            ([2.0, 2.0], [1, 1], [0, 0], [2.0, 2.0]),
        ],
    )  # fmt: skip
    def test_stay_where_they_are_no_chance_and_are_pooled_elsewhere(
        self, values, weights, errors, fitted
    ):
        assert falling_by_no_chance(values, weights, errors) == pytest.approx(fitted)


def two_sizes():
    return curve({1: [(1.0, 2.0, 1.0), (1.0, 4.0, 3.0)], 3: [(0, 10, 0), (1, 16, 3), (2, 24, 4)]})


class TestCurves:
    def test_parts_are_linear_between_measured_sizes(self):
        found = curve({1: [(1.0, 2.0, 1.0)], 5: [(2.0, 8.0, 0.0)]})
        assert [found.total_s(n) for n in range(1, 6)] == [4.0, 5.5, 7.0, 8.5, 10.0]
        assert found.parts_s(2) == pytest.approx((1.25, 3.5, 0.75))
        assert found.parts_s(4) == pytest.approx((1.75, 6.5, 0.25))
        assert found.parts_s(5) == pytest.approx((2.0, 8.0, 0.0))
        assert isinstance(found.parts_s(2), Parts)

    def test_parts_are_the_shares_that_their_medians_have_of_the_whole(self):
        # Medians of 1, 2 and 1 where the whole batch takes 6.
        found = curve({1: [(1.0, 2.0, 3.0), (0.0, 5.0, 1.0), (4.0, 2.0, 0.0)]})
        assert found.parts_s(1) == pytest.approx((1.5, 3.0, 1.5))
        # No part takes any time in two batches of three.
        found = curve({1: [(1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 3.0)]})
        assert found.parts_s(1) == (0.0, 2.0, 0.0)

    def test_rows_of_a_measured_size_are_its_batches_from_the_quickest_on(self):
        found = curve({1: [(3.0, 4.0, 5.0), (1.0, 1.0, 1.0), (0.0, 5.0, 1.0)]})
        assert found.rows(1) == [(1.0, 1.0, 1.0), (0.0, 5.0, 1.0), (3.0, 4.0, 5.0)]

    def test_rows_are_scaled_where_a_fall_was_taken_out(self):
        found = curve({1: [(0.1, 0.3, 0.1)], 2: [(0.05, 0.1, 0.05)] * 2})
        assert (found.total_s(1), found.total_s(2)) == pytest.approx((0.3, 0.3))
        assert found.rows(1)[0] == pytest.approx((0.06, 0.18, 0.06))
        assert found.rows(2)[1] == pytest.approx((0.075, 0.15, 0.075))

    def test_rows_nearer_to_one_size_are_more_like_its_own(self):
        found = curve({1: [(1.0, 2.0, 3.0)], 5: [(5.0, 6.0, 15.0)]})
        assert found.rows(2) == [(2.0, 3.0, 6.0)]
        assert found.rows(4) == [(4.0, 5.0, 12.0)]

    def test_rows_between_two_sizes_are_of_equal_ranks_as_many_as_the_larger_number(self):
        found = two_sizes()
        # By thirds: the middle of the two goes with the second, of rank 0.5 as well.
        assert found.rows(2) == [(0.5, 6.0, 0.5), (1.0, 10.0, 3.0), (1.5, 14.0, 3.5)]
        assert found.quantile_s(2, 0.34) == 14.0

    @pytest.mark.parametrize(
        ("q", "total_s"), [(1e-9, 10.0), (0.33, 10.0), (0.34, 20.0), (0.67, 30.0), (1.0, 30.0)]
    )
    def test_a_quantile_is_the_nearest_rank_of_the_whole(self, q, total_s):
        assert two_sizes().quantile_s(3, q) == total_s


class TestDraws:
    @staticmethod
    def draws(ranks, together, seed=0):
        rows = {1: [(float(i), 1.0, 2.0) for i in range(100)]}
        return ServiceDraws(
            curve(rows),
            np.array(ranks),
            np.random.default_rng(seed),
            together=together,
            wake_s=[1.0],
            timer_s=[2.0],
            turn_s=[3.0, 4.0],
        )

    def test_blocks_of_ranks_follow_each_other_and_go_on_at_the_beginning(self):
        draws = self.draws([0.05, 0.15, 0.25, 0.95, 0.45], together=4)
        drawn = [[draws.next(1)[0] for _ in range(4)] for _ in range(2000)]
        following = {5.0: 15.0, 15.0: 25.0, 25.0: 95.0, 95.0: 45.0, 45.0: 5.0}
        assert all(following[a] == b for block in drawn for a, b in pairwise(block))
        starts = [block[0] for block in drawn]
        assert {
            start: round(starts.count(start) / 2000, 1) for start in following
        } == dict.fromkeys(following, 0.2)

    def test_waits_are_drawn_each_by_itself_and_for_ever(self):
        draws = self.draws([0.5], together=1)
        turns = [draws.turn() for _ in range(10_000)]
        assert np.mean(turns) == pytest.approx(3.5, abs=0.05)
        assert {draws.wake() for _ in range(10_000)} == {1.0}
        assert {draws.timer() for _ in range(10_000)} == {2.0}

    @pytest.mark.parametrize(
        ("stretch", "number", "length"),
        [
            # Of stretches of ten a lag of four leaves less than 1/e; see `correlation_length`.
            pytest.param(10, 400, 40, id="ten times the correlation"),
            pytest.param(10, 40, 40, id="at most all of them"),
            pytest.param(10, 20, 20, id="of twenty"),
            pytest.param(1, 400, 10, id="ten at least"),
        ],
    )
    def test_a_block_is_ten_times_the_correlation(self, stretch, number, length):
        alternating = np.tile(np.repeat([1.0, -1.0], stretch), number)[:number]
        assert block_length(alternating) == length


def test_of_three_values_no_correlation_is_seen():
    assert correlation_length(np.array([1.0, 2.0, 3.0])) == 1


def test_in_virtual_time_nothing_is_lost_around_a_batch():
    clock = VirtualClock(1000.0)
    executor = make_executor(AffineModel(0.01, 0.0, clock), Placement(), clock)
    rig = Rig(executor, 4, clock)
    rig.start()
    assert rig.overheads(1.0, 0.003) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    assert clock.now() == pytest.approx(1000.023)
    rig.stop()


class TestPlan:
    @pytest.mark.parametrize(
        ("times_s", "done"),
        [
            pytest.param([1.0] * 30, True, id="certain"),
            pytest.param([1.0] * 29, False, id="certain, but too few to draw a spread from"),
            # From the 9th to the 22nd of 30, 1.26 of which are 13 / (2 z) / 15.5 = 16 %.
            pytest.param(list(range(1, 31)), False, id="uncertain"),
            pytest.param(list(range(1, 400)), False, id="uncertain still"),
            pytest.param(list(range(1, 401)), True, id="as many as there will be"),
        ],
    )
    def test_a_cell_is_done_once_its_median_is_certain_or_never_will_be(self, times_s, done):
        assert is_done(times_s) is done

    def test_visits_go_by_the_square_of_the_error(self):
        def eight(error):
            """Eight times whose median has that relative error: 7 d / (2 z) = error."""
            step = error * 2 * Z / 7
            return [1.0 + step * (i - 3.5) for i in range(8)]

        # 30 at least: 8 samples at twice the target need 32, at three times 72, at ten 400 at most.
        errors = {1: 0.0, 2: 0.02, 3: 0.03, 4: 0.04, 5: 0.05, 6: 0.1}
        visits = visits_a_round({(n, None): eight(error) for n, error in errors.items()})
        assert visits == {(1, None): 1, (2, None): 1, (3, None): 2, (4, None): 4, (5, None): 7,
                          (6, None): 8}  # fmt: skip
        # In proportion to the one that needs least.
        assert visits_a_round({(1, None): eight(0.03), (2, None): eight(0.06)}) == {
            (1, None): 1, (2, None): 4
        }  # fmt: skip
        # Nobody needs more than 400: four times the 104 that are needed least.
        assert visits_a_round({(1, None): eight(0.036), (2, None): eight(0.2)}) == {
            (1, None): 1, (2, None): 4
        }  # fmt: skip


class TestPayloads:
    class Texts(CallableModel):
        """Makes texts of three or five characters, or of a length asked for."""

        def make_input(self, rng):
            return "abcde"[: rng.choice([3, 5])]

        def input_of_length(self, rng, length):
            return "x" * length

        def lane_key(self, payload):
            return len(payload)

    def test_a_batch_is_of_requests_that_may_share_one_each_kind_as_often_as_it_is_made(self):
        payloads = Payloads(self.Texts(len), (), np.random.default_rng(0))
        batches = [payloads.draw((4, None)) for _ in range(1000)]
        assert all(len(batch) == 4 and len(set(batch)) == 1 for batch in batches)
        assert sum(batch[0] == "abc" for batch in batches) / 1000 == pytest.approx(0.5, abs=0.15)

    def test_of_a_length_are_all_of_that_length(self):
        payloads = Payloads(self.Texts(len), (7, 2), np.random.default_rng(0))
        assert payloads.lengths == (2, 7)
        assert payloads.draw((3, 7)) == ["xxxxxxx"] * 3

    @pytest.mark.parametrize("lengths", [(0,), (3, 0), (-1, 2), (2, 2)])
    def test_lengths_must_be_different_and_positive(self, lengths):
        listed = ",".join(map(str, lengths))
        with pytest.raises(ConfigError, match=f"must be different and >= 1, but got {listed}"):
            Payloads(self.Texts(len), lengths, np.random.default_rng(0))

    def test_what_a_model_raises_while_it_makes_one_of_a_length_is_told(self):
        class Broken(self.Texts):
            def input_of_length(self, rng, length):
                raise SystemExit(1)

        with pytest.raises(BatchExecutionError, match="raised while it made an input"):
            Payloads(Broken(len), (1,), np.random.default_rng(0))
