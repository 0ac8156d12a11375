"""Which executors serve: one group for each replica, one executor for each of its slots."""

import copy
from collections.abc import Callable, Hashable
from typing import Any

from batching.clock import Clock
from batching.devices import resolve_placement
from batching.errors import ConfigError
from batching.execution import Executor, make_executor
from batching.models.contract import Placement


def lane_key_of(run: Any) -> Callable[[Any], Hashable] | None:
    """What tells requests apart that must not share a batch; None if the model does not say."""
    model = getattr(run, "model", run)
    key: Callable[[Any], Hashable] | None = getattr(model, "lane_key", None)
    return key


def executors_for(  # noqa: PLR0917 - the batcher's own arguments, in its order
    run: Any,
    device: str,
    dtype: str,
    replicas: int | None,
    in_flight: int,
    clock: Clock,
    *,
    max_batch_size: int = 1,
    **how: Any,
) -> list[list[Executor]]:
    """For each replica, one executor for each of its slots.

    Replicas on one device share the model; each further device gets a copy of it. `how` is what
    `resolve_placement` takes by name.

    Raises:
        ConfigError: `replicas` or `in_flight` is out of its range, or the model cannot be run so.
        DeviceError: no such device here.
    """
    if in_flight not in (1, 2):
        raise ConfigError(f"in_flight must be 1 or 2, but got {in_flight}")
    if replicas is not None and replicas < 1:
        raise ConfigError(f"replicas must be >= 1, but got {replicas}")
    if hasattr(run, "execute"):
        if (replicas or 1) > 1:
            raise ConfigError("replicas need a model, but got an executor, which is one replica")
        return [_slots(run, in_flight)]
    if getattr(run, "uses_torch", False):
        placements = [resolve_placement(part.strip(), dtype, **how) for part in device.split(",")]
    else:
        placements = [Placement("cpu", dtype, how.get("engine", "eager"))]
    placements = [placement.for_batches(max_batch_size) for placement in placements]
    models: dict[Placement, Any] = {}
    for placement in placements:
        models[placement] = copy.deepcopy(run) if models else run
    count = replicas or len(placements)
    chosen = [placements[i % len(placements)] for i in range(count)]
    return [
        _slots(make_executor(models[placement], placement, clock), in_flight)
        for placement in chosen
    ]


def _slots(executor: Executor, in_flight: int) -> list[Executor]:
    return [executor, *(executor.sibling() for _ in range(in_flight - 1))]
