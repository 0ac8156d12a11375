"""What the deadline policy learns from the batches that have run."""

import pytest

from batching.policies import FinishedBatch
from batching.policies.learned import ServiceTimes


class TestServiceTimes:
    def times(self, *history, largest=16):
        """After batches of (size, seconds), one after the other."""
        times = ServiceTimes(largest)
        now_s = 0.0
        for size, took_s in history:
            times.observe(FinishedBatch(0, size, size, now_s, now_s, now_s + took_s, ok=True))
            now_s += took_s + 1.0
        return times

    def test_between_the_sizes_seen_it_is_a_straight_line(self):
        times = self.times((2, 0.02), (2, 0.02), (4, 0.04), (4, 0.04))
        assert times.q99_s[:5] == pytest.approx([0.02, 0.02, 0.02, 0.03, 0.04])

    def test_beyond_the_largest_size_seen_it_grows_in_proportion(self):
        assert self.times((4, 0.01)).q99_s[16] == pytest.approx(0.04)

    def test_a_larger_batch_that_was_faster_bounds_the_smaller_ones(self):
        times = self.times((1, 9.0), *[(4, 0.01)] * 120)
        assert times.q99_s == pytest.approx([0.01] * 5 + [0.01 * n / 4 for n in range(5, 17)])

    def test_one_hiccup_in_a_hundred_is_beyond_the_quantile(self):
        seen = [(4, 0.01)] * 120
        seen[60] = (4, 1.0)
        times = self.times(*seen)
        assert times.q99_s[4] == pytest.approx(0.01)

    def test_three_in_a_hundred_are_within_q99_and_beyond_q90(self):
        times = self.times(*[(4, 0.03 if i % 33 == 0 else 0.01) for i in range(200)])
        assert times.q99_s[4] == pytest.approx(0.03)
        assert times.q90_s[4] == pytest.approx(0.01)

    def test_the_spread_of_the_sizes_that_run_holds_for_those_that_do_not(self):
        times = self.times(*[(16, 0.04)] * 2, *[(4, 0.02)] * 30, *[(4, 0.04)] * 15)
        assert times.q99_s[16] == pytest.approx(0.08)

    def test_a_first_run_that_was_slow_does_not_rule_its_size_out(self):
        times = self.times((1, 0.01), (1, 0.01), (16, 9.0), *[(1, 0.01)] * 200)
        assert times.q99_s[16] == pytest.approx(0.16)

    def test_nor_where_the_size_below_is_no_1(self):
        times = self.times((2, 0.02), (2, 0.02), (8, 9.0), *[(2, 0.02)] * 200)
        assert times.q99_s[8] == pytest.approx(0.02 * 8 / 2)

    def test_a_size_counts_from_its_second_run_on(self):
        times = self.times(*[(2, 0.02)] * 9, (8, 0.05))
        assert times.q99_s[8] == pytest.approx(0.05), "faster than in proportion"
        assert self.times(*[(2, 0.02)] * 99, (8, 0.1), (8, 0.1)).q99_s[8] == pytest.approx(0.1)

    def test_of_a_size_the_latest_32_count(self):
        times = self.times(*[(4, 0.01)] * 50, *[(4, 0.04)] * 16)
        assert times._sizes[4].median_s == pytest.approx(0.01), "the lower of the two in the middle"
        for fast, typical_s in ((17, 0.01), (16, 0.01), (15, 0.04)):
            times = self.times(*[(4, 0.04)] * 50, *[(4, 0.01)] * fast)
            assert times._sizes[4].median_s == pytest.approx(typical_s)

    def test_the_spread_is_of_the_latest_200(self):
        # Two of 200 are 1 %: the third slowest of all is the 99 % quantile.
        slow = [(4, 0.05)] * 3
        assert self.times(*[(4, 0.01)] * 99, *slow, *[(4, 0.01)] * 197).q99_s[4] == pytest.approx(
            0.05
        )
        assert self.times(*[(4, 0.01)] * 99, *slow, *[(4, 0.01)] * 198).q99_s[4] == pytest.approx(
            0.01
        )

        # And 20 of 200 are a tenth; of the 199 after the first they are more.
        times = self.times((4, 0.01), *[(4, 0.05)] * 20, *[(4, 0.01)] * 179)
        assert times.q90_s[4] == pytest.approx(0.01)

    def test_what_failed_or_was_larger_than_allowed_or_had_no_time_teaches_nothing(self):
        times = ServiceTimes(16)
        for size, completed_s, ok in [(4, 1.0, False), (17, 1.0, True), (0, 1.0, True),
                                      (4, -0.1, True), (4, float("nan"), True)]:  # fmt: skip
            batch = FinishedBatch(0, size, size, 0.0, 0.0, completed_s, ok=ok)
            assert not times.observe(batch)
        assert times.q90_s == []
        assert times.observe(FinishedBatch(0, 16, 16, 1.0, 1.0, 1.0, ok=True)), "no time is one"

    def test_a_batch_behind_another_ran_from_the_end_of_that_one_of_its_worker_on(self):
        times = ServiceTimes(4)
        times.observe(FinishedBatch(0, 4, 4, 0.0, 0.0, 1.0, ok=True))
        times.observe(FinishedBatch(0, 4, 4, 0.5, 0.5, 2.0, ok=True))
        assert times.q99_s[4] == pytest.approx(1.0)
        times.observe(FinishedBatch(1, 4, 4, 0.5, 0.5, 3.5, ok=True))
        assert times.q99_s[4] == pytest.approx(3.0), "of another worker it stood behind none"

    def test_a_size_too_slow_to_run_is_tried_again_in_the_end(self):
        slow = [(16, 9.0)] * 5
        assert self.times((1, 0.01), *slow, *[(1, 0.01)] * 999).q99_s[16] == pytest.approx(9.0)
        assert self.times((1, 0.01), *slow, *[(1, 0.01)] * 1000).q99_s[16] == pytest.approx(0.16)
