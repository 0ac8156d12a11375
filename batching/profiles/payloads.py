"""The requests that a profile is measured with."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from batching.errors import BatchExecutionError, ConfigError
from batching.models.contract import Model
from batching.plugins import located
from batching.profiles.plan import Cell
from batching.workers.replicas import lane_key_of

_EACH = 64


class Payloads:
    """Several different requests, so that no cache is flattered by one.

    Args:
        model: makes them.
        lengths: lengths to make some of, besides what the model makes.
        rng: what they are made from and drawn with.

    Raises:
        ConfigError: a length is out of its range, or the model cannot make a request of a length.
        BatchExecutionError: the model raised.
    """

    def __init__(self, model: Model, lengths: Sequence[int], rng: np.random.Generator) -> None:
        make: Callable[..., Any] | None = getattr(model, "input_of_length", None)
        if lengths and make is None:
            raise ConfigError(
                f"lengths go with a model of sequences, which has input_of_length, "
                f"but got {model.name}"
            )
        if any(length < 1 for length in lengths) or len(set(lengths)) < len(lengths):
            raise ConfigError(
                "lengths must be different and >= 1, but got " + ",".join(map(str, lengths))
            )
        self.lengths = tuple(sorted(lengths))
        self._rng = rng
        self._key = lane_key_of(model) or _alone
        pools: dict[int | None, list[Any]] = {}
        try:
            pools[None] = [model.make_input(rng) for _ in range(_EACH)]
            for length in self.lengths:
                assert make is not None  # noqa: S101 - checked above; for the type checker
                pools[length] = [make(rng, length) for _ in range(_EACH)]
        except (Exception, SystemExit) as error:  # the user's code: anything may come
            raise BatchExecutionError(
                f"{model.name} raised while it made an input: {located(error)}"
            ) from error
        self._mates = {length: self._lanes(pool) for length, pool in pools.items()}

    def draw(self, cell: Cell) -> list[Any]:
        """A batch of requests that may share one; each kind as often as it is made."""
        size, length = cell
        lanes = self._mates[length]
        mates = lanes[int(self._rng.integers(len(lanes)))]
        return [mates[i] for i in self._rng.integers(len(mates), size=size).tolist()]

    def _lanes(self, pool: Sequence[Any]) -> list[list[Any]]:
        """For each request those that may share a batch with it, itself included."""
        lanes: dict[Hashable, list[Any]] = defaultdict(list)
        for payload in pool:
            lanes[self._key(payload)].append(payload)
        return [lanes[self._key(payload)] for payload in pool]


def _alone(_: Any) -> Hashable:
    return None
