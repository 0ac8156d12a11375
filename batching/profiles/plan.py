"""Which batches a profile is made of, and when there are enough of them: plain arithmetic."""

from collections.abc import Mapping, Sequence
from math import ceil, inf

from batching.profiles.samples import relative_error

# The relative standard error that every median is to reach.
TARGET = 0.01
# A size is done at the target, but not before so many samples, which its spread is drawn from; and
# after so many in any case.
LEAST_SAMPLES, MOST_SAMPLES = 30, 400
# Sizes that are done are measured along in every fourth round, so that drift shows in them too.
_ALL_EVERY = 4
_MOST_VISITS = 8

Cell = tuple[int, int | None]
"""A batch size, and the length of its requests; None: as the model makes them."""


def sizes_up_to(max_batch_size: int) -> tuple[list[int], list[int]]:
    """The sizes to measure: the powers of two and the limit itself, then those in between."""
    powers = [2**i for i in range(max_batch_size.bit_length())]
    between = [3 * power // 2 for power in powers[1:] if 3 * power // 2 < max_batch_size]
    return list(dict.fromkeys([*powers, max_batch_size])), between


def is_done(times_s: Sequence[float]) -> bool:
    """Whether the median of a cell's times is known well enough, or will not become so."""
    enough = len(times_s) >= LEAST_SAMPLES and relative_error(times_s) <= TARGET
    return enough or len(times_s) >= MOST_SAMPLES


def next_visits(times_s: Mapping[Cell, Sequence[float]], number: int) -> list[Cell]:
    """The cells of round `number`, each as often as it is to be visited; none once all are done.

    The error of a median falls with the square root of n, so a cell at r times the target wants
    (r^2 - 1) n further samples. It gets an eighth of them in one round, at least one, at most 8.
    """
    done = {cell: is_done(times) for cell, times in times_s.items()}
    if all(done.values()):
        return []
    visits: list[Cell] = []
    for cell, times in times_s.items():
        if not done[cell]:
            visits += [cell] * _times_wanted(times)
        elif number % _ALL_EVERY == 0:
            visits.append(cell)
    return visits


def _times_wanted(times_s: Sequence[float]) -> int:
    ratio = relative_error(times_s) / TARGET
    if ratio == inf:
        return 1
    further = len(times_s) * (ratio * ratio - 1.0)
    return min(_MOST_VISITS, max(1, ceil(further / 8)))
