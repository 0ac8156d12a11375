"""Which executors serve: one group for each replica, one executor for each of its slots."""

import copy
from collections.abc import Callable, Hashable
from typing import Any

from batching.clock import Clock
from batching.errors import ConfigError
from batching.execution.choose import make_executor
from batching.execution.devices import resolve_placements
from batching.execution.executor import Executor
from batching.models.contract import Placement
from batching.options import check_count


def lane_key_of(run: Any) -> Callable[[Any], Hashable] | None:
    """What tells requests apart that must not share a batch; None if the model does not say."""
    model = getattr(run, "model", run)
    key: Callable[[Any], Hashable] | None = getattr(model, "lane_key", None)
    return key


class Copies:
    """A model, and a copy of it for each further device, made once and kept.

    Give it to several batchers in turn in place of the model, and each device loads it only once.
    Made before the model is loaded, a copy holds no memory of the first one's device.

    Args:
        model: what the first device runs.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._of_device: dict[str, Any] = {}

    def on(self, device: str) -> Any:
        """The model of that device."""
        if device not in self._of_device:
            first = not self._of_device
            self._of_device[device] = self.model if first else copy.deepcopy(self.model)
        return self._of_device[device]


def executors_for(  # noqa: PLR0917 - the batcher's own arguments, in its order
    run: Any,
    device: str,
    dtype: str,
    replicas: int | None,
    in_flight: int,
    clock: Clock,
    *,
    max_batch_size: int,
    **how: Any,
) -> list[list[Executor]]:
    """For each replica, one executor for each of its slots.

    Replicas on one device share the model; each further device gets a copy of it. Replicas are
    dealt out to the devices in turn. `run` is a model, its `Copies`, a function of a list of
    payloads, or an executor; `how` is what `resolve_placement` takes by name.

    Raises:
        ConfigError: `replicas` or `in_flight` is out of its range, or the model cannot be run so.
        DeviceError: no such device here, or one named twice.
    """
    if check_count("in_flight", in_flight, least=None) not in (1, 2):
        raise ConfigError(f"in_flight must be 1 or 2, but got {in_flight}")
    if replicas is not None:
        check_count("replicas", replicas)
    if hasattr(run, "execute"):
        if (replicas or 1) > 1:
            raise ConfigError("replicas need a model, but got an executor, which is one replica")
        return [_slots(run, in_flight)]
    copies = run if isinstance(run, Copies) else Copies(run)
    placements = [Placement("cpu", dtype, how.get("engine", "eager"))]
    if getattr(copies.model, "uses_torch", False):
        placements = resolve_placements(device, dtype, **how)
    placements = [placement.for_batches(max_batch_size) for placement in placements]
    models = {placement: copies.on(placement.device) for placement in placements}
    count = replicas or len(placements)
    chosen = [placements[i % len(placements)] for i in range(count)]
    return [
        _slots(make_executor(models[placement], placement, clock), in_flight)
        for placement in chosen
    ]


def _slots(executor: Executor, in_flight: int) -> list[Executor]:
    return [executor, *(executor.sibling() for _ in range(in_flight - 1))]
