"""T(b) from samples: its median, its spread, and both between the sizes that were measured."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from math import ceil
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from batching.errors import ProfileError
from batching.profiles.samples import BatchSample, falling_by_no_chance, relative_error


class Parts(NamedTuple):
    """The parts of a batch's time, seconds; they sum to T."""

    collate_s: float
    execute_s: float
    deliver_s: float

    @property
    def total_s(self) -> float:
        """T."""
        return self.collate_s + self.execute_s + self.deliver_s


class Curve:
    """The time T(b) of a batch of b, for every b up to the largest measured.

    T(b) at a measured size is the median of its samples, made to fall as b grows only where the
    samples leave no doubt (`falling_by_no_chance`), and linear in between. Spread: the samples of a
    size, in order of their totals, are its quantile function; between two sizes quantiles are
    linear in b, like the median.

    Args:
        samples: at least one, of size 1; all of one kind of request.
    """

    def __init__(self, samples: Iterable[BatchSample]) -> None:
        by_size: dict[int, list[BatchSample]] = defaultdict(list)
        for sample in samples:
            by_size[sample.size].append(sample)
        self.sizes = tuple(sorted(by_size))
        self.samples = {n: sorted(by_size[n], key=lambda s: s.total_s) for n in self.sizes}
        medians_s = [median(s.total_s for s in self.samples[n]) for n in self.sizes]
        weights = [float(len(self.samples[n])) for n in self.sizes]
        errors_s = [
            relative_error([s.total_s for s in self.samples[n]]) * middle_s
            for n, middle_s in zip(self.sizes, medians_s, strict=True)
        ]
        fitted_s = falling_by_no_chance(medians_s, weights, errors_s)
        every = np.arange(1, self.sizes[-1] + 1)
        self._typical_s = np.interp(every, self.sizes, fitted_s).tolist()
        # What the samples of a size are multiplied by for their median to be T; nearly always 1.
        self._factor = {
            n: fitted / measured if measured > 0.0 else 1.0
            for n, fitted, measured in zip(self.sizes, fitted_s, medians_s, strict=True)
        }
        self._rows: dict[int, Sequence[Parts]] = {}

    @property
    def largest(self) -> int:
        """The largest size measured."""
        return self.sizes[-1]

    def check(self, size: int) -> None:
        """Refuse what was not measured.

        Raises:
            ProfileError: the size is outside 1..`largest`.
        """
        if not 1 <= size <= self.largest:
            raise ProfileError(
                f"batch size must be from 1 to {self.largest}, the largest in the profile, "
                f"but got {size}"
            )

    def total_s(self, size: int) -> float:
        """T(size)."""
        self.check(size)
        return float(self._typical_s[size - 1])

    def parts_s(self, size: int) -> Parts:
        """T(size) by its parts: shares of the parts' medians."""
        self.check(size)
        low, high, share = self._around(size)
        parts = [
            (1 - share) * a + share * b
            for a, b in zip(self._medians(low), self._medians(high), strict=True)
        ]
        whole, total_s = sum(parts), self.total_s(size)
        if whole <= 0.0:
            return Parts(0.0, total_s, 0.0)
        collate_s, _, deliver_s = (part * total_s / whole for part in parts)
        return Parts(collate_s, total_s - collate_s - deliver_s, deliver_s)

    def quantile_s(self, size: int, q: float) -> float:
        """The q quantile of a batch's time, nearest rank, 0 < q <= 1."""
        rows = self.rows(size)
        return rows[min(len(rows), max(1, ceil(q * len(rows)))) - 1].total_s

    def rows(self, size: int) -> Sequence[Parts]:
        """Equally likely times of a batch of `size`, by increasing total."""
        rows = self._rows.get(size)
        if rows is None:
            self.check(size)
            rows = self._rows[size] = self._make_rows(size)
        return rows

    @cached_property
    def table(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The rows of every size as arrays.

        Returns:
            By batch size, 0 included: where its rows begin `[B + 1]`, and how many they are
            `[B + 1]`; all rows, seconds `[R, 3]`.
        """
        rows = [self.rows(size) for size in range(1, self.largest + 1)]
        counts = np.array([0, *map(len, rows)])
        return np.cumsum(counts) - counts, counts, np.array([row for of in rows for row in of])

    def _make_rows(self, size: int) -> list[Parts]:
        low, high, share = self._around(size)
        if low == high:
            factor = self._factor[low]
            return [
                Parts(s.collate_s * factor, s.execute_s * factor, s.deliver_s * factor)
                for s in self.samples[low]
            ]
        below, above = self.rows(low), self.rows(high)
        count = max(len(below), len(above))
        rows = []
        for k in range(count):
            rank = (k + 0.5) / count
            a, b = below[int(rank * len(below))], above[int(rank * len(above))]
            rows.append(Parts(*((1 - share) * x + share * y for x, y in zip(a, b, strict=True))))
        return rows

    def _around(self, size: int) -> tuple[int, int, float]:
        """The measured sizes on either side, and how far `size` is from the first to the second."""
        at = int(np.searchsorted(self.sizes, size))
        high = self.sizes[at]
        if high == size:
            return size, size, 0.0
        low = self.sizes[at - 1]
        return low, high, (size - low) / (high - low)

    def _medians(self, size: int) -> tuple[float, float, float]:
        samples = self.samples[size]
        return (
            median(s.collate_s for s in samples),
            median(s.execute_s for s in samples),
            median(s.deliver_s for s in samples),
        )
