"""Several draws of one workload, so that a result can be told from the luck of one draw.

What independence is claimed:

A described trace   Draws of the process with derived seeds: independent.
A recording that has k disjoint stretches of the asked length: draw i is one of them, taken in
                    random order. No request is in two draws. They are independent as far as the
                    recording forgets its past within a stretch; a trend over the whole recording
                    they share.
A shorter recording A circular block bootstrap (Politis and Romano, A circular block-resampling
                    procedure for stationary data, 1992): blocks of the recording that start
                    anywhere, one behind the other. Given the recording, draws are independent.
                    They vary as the recording does at scales below a block; dependence over more
                    than a block is broken; and they hold no evidence beyond the one recording.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from workloads.checks import positive
from workloads.errors import TraceError
from workloads.trace import SAME, Times, Trace, check_seed, check_size

BLOCK_SHARE = 0.1
SHORTEST_BLOCK_S = 1.0


def draw_seed(seed: int, draw: int) -> int:
    """The seed of draw number `draw` (>= 0), 0 to 2^53 - 1; it depends on the two arguments only.

    Through numpy's SeedSequence, so that neighbouring seeds and draws are unrelated.
    """
    check_seed(seed)
    state = np.random.SeedSequence(seed, spawn_key=(draw,)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(11))  # a whole number that any reader of JSON keeps


def check_draws(draws: int) -> None:
    """Raise TraceError unless there is at least one."""
    if draws < 1:
        raise TraceError(f"draws must be >= 1, but got {draws}")


def default_block_s(length_s: float, span_s: float) -> float:
    """A tenth of the draw, 1 s or more, and no longer than the draw or the recording."""
    return min(max(BLOCK_SHARE * length_s, SHORTEST_BLOCK_S), length_s, span_s)


def draws_of(
    trace: Trace,
    draws: int,
    seed: int,
    length_s: float,
    block_s: float | None = None,
    *,
    first: int = 0,
) -> list[Trace]:
    """`draws` traces of `length_s` from one recording; see the docstring of the module.

    With the same seed and length, more draws begin with the same ones, as long as the recording
    has that many disjoint stretches, or already had too few. Each says in its source how it was
    made.

    Args:
        trace: The recording.
        draws: How many, >= 1.
        seed: Seed of what is random, >= 0.
        length_s: Length of each in seconds, > 0.
        block_s: Length of a bootstrap's blocks in seconds, at most the recording's; a tenth of
            the draw and at least 1 s where it is None. It should span the bursts.
        first: The number of the first, >= 0; they are as if all before them were made too.

    Raises:
        TraceError: An argument out of range, or a recording that spans no time.
    """
    check_draws(draws)
    check_seed(seed)
    positive("length_s", length_s, TraceError)
    span_s = trace.duration_s
    if not span_s > 0:
        raise TraceError(f"{trace.name} must span some time to be drawn from, but spans 0 s")
    if block_s is None:
        block_s = default_block_s(length_s, span_s)
    elif not 0 < block_s <= span_s:
        raise TraceError(
            f"block_s must be > 0 and at most the {span_s:.12g} s of {trace.name}, "
            f"but got {block_s:.12g}"
        )
    numbers = range(first, first + draws)
    if math.floor(span_s / length_s * (1 + SAME)) >= numbers.stop:
        return _stretches(trace, numbers, seed, length_s)
    check_size(length_s / block_s, "blocks")
    return [_bootstrap(trace, i, seed, length_s, block_s) for i in numbers]


def _stretches(trace: Trace, numbers: range, seed: int, length_s: float) -> list[Trace]:
    """Disjoint stretches in random order, the first beginning at a random place."""
    room = math.floor(trace.duration_s / length_s * (1 + SAME))
    check_size(room, "windows")
    rng = np.random.default_rng(seed)
    first_s = rng.random() * max(0.0, trace.duration_s - room * length_s)
    starts_s = first_s + np.arange(room) * length_s
    # Neighbours share an edge exactly, whatever the rounding.
    ends_s = np.append(starts_s[1:], trace.ends_s(starts_s[-1:], length_s))
    made = []
    order = rng.permutation(room)
    for i in numbers:
        at = order[i]
        by, start_s = "disjoint windows", float(starts_s[at])
        source = _source(trace, i, seed, by=by, start_s=start_s, length_s=length_s)
        made.append(trace.spliced([start_s], [ends_s[at]], length_s, source))
    return made


def _bootstrap(trace: Trace, draw: int, seed: int, length_s: float, block_s: float) -> Trace:
    starts_s, ends_s = circular_blocks(
        trace.duration_s, length_s, block_s, np.random.default_rng(draw_seed(seed, draw))
    )
    by = "circular block bootstrap"
    source = _source(trace, draw, seed, by=by, block_s=block_s, length_s=length_s)
    return trace.spliced(starts_s, ends_s, length_s, source)


def circular_blocks(
    span_s: float, length_s: float, block_s: float, rng: np.random.Generator
) -> tuple[Times, Times]:
    """Starts and ends of the pieces of one bootstrap draw, in seconds; float64 `[M]` each.

    Blocks start uniformly in [0, span_s). One that passes the end goes on from the start, as two
    pieces; the last is cut so that all together are `length_s` long.
    """
    count = math.ceil(length_s / block_s * (1 - SAME))
    starts_s = rng.random(count) * span_s
    lengths_s = np.full(count, block_s)
    lengths_s[-1] = length_s - (count - 1) * block_s
    ends_s = starts_s + lengths_s
    pieces_s = np.column_stack(
        (starts_s, np.minimum(ends_s, span_s), np.zeros(count), ends_s - span_s)
    ).reshape(-1, 2)
    pieces_s = pieces_s[pieces_s[:, 0] < pieces_s[:, 1]]
    return pieces_s[:, 0], pieces_s[:, 1]


def _source(trace: Trace, draw: int, seed: int, **details: Any) -> Mapping[str, Any]:
    return trace.source_after("draw", draw=draw, seed=seed, **details)
