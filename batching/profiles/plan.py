"""Which batches a profile is made of, and when there are enough of them: plain arithmetic."""

from collections.abc import Mapping, Sequence

from batching.profiles.samples import relative_error

# The relative standard error that every median is to reach.
TARGET = 0.01
# A cell is done at the target, but not before so many samples, which its spread is drawn from; and
# after so many in any case.
LEAST_SAMPLES, MOST_SAMPLES = 30, 400
# Rounds that visit every cell once, from which is told what each needs.
PILOT_ROUNDS = 10
MOST_VISITS = 8

Cell = tuple[int, int | None]
"""A batch size, and the length of its requests; None: as the model makes them."""


def sizes_up_to(max_batch_size: int) -> tuple[list[int], list[int], list[int]]:
    """The sizes to measure: the powers of two and the limit itself, those halfway, all others."""
    powers = [2**i for i in range(max_batch_size.bit_length())]
    between = [3 * power // 2 for power in powers[1:] if 3 * power // 2 < max_batch_size]
    ends = list(dict.fromkeys([*powers, max_batch_size]))
    coarse = {*ends, *between}
    return ends, between, [n for n in range(1, max_batch_size) if n not in coarse]


def is_done(times_s: Sequence[float]) -> bool:
    """Whether the median of a cell's times is known well enough, or will not become so."""
    enough = len(times_s) >= LEAST_SAMPLES and relative_error(times_s) <= TARGET
    return enough or len(times_s) >= MOST_SAMPLES


def visits_a_round(times_s: Mapping[Cell, Sequence[float]]) -> dict[Cell, int]:
    """How often each cell is visited in a round from now on, so that all are done together.

    The error of a median falls with the square root of n, so a cell at r times the target needs
    r^2 n samples, at least 30 and at most 400. Visits are in proportion to that: 1 for the cell
    that needs least, 8 at most. Nobody sits out, and the proportion stays as it is: a slow phase of
    the machine then hits every cell as often as any other, instead of those measured just then.
    """
    needs = {
        cell: min(MOST_SAMPLES, max(LEAST_SAMPLES, len(times) * _ratio(times) ** 2))
        for cell, times in times_s.items()
    }
    least = min(needs.values())
    return {cell: min(MOST_VISITS, round(need / least)) for cell, need in needs.items()}


def _ratio(times_s: Sequence[float]) -> float:
    return relative_error(times_s) / TARGET
