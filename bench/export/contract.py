"""What an exporter is, and what several of them need."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from bench.errors import InputError
from bench.settings import Settings


@dataclass(frozen=True, slots=True)
class Rendered:
    """A setting as one server takes it.

    Attributes:
        body: the configuration or code, without the comments that say where it comes from.
        remarks: where this very setting means something else there; also printed as warnings.
    """

    body: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One server.

    Attributes:
        name: as `--to` takes it.
        server: as people call it, with the version that the facts were read from.
        carries: the keys of `[batcher]` that have a counterpart there. Any other that is set is
            left out with a warning.
        semantics: where the server differs from what was measured, a sentence or two each.
        render: writes the setting down.
    """

    name: str
    server: str
    carries: frozenset[str]
    semantics: tuple[str, ...]
    render: Callable[[Settings], Rendered]


@dataclass(frozen=True, slots=True)
class Replicas:
    """Workers on one device.

    Attributes:
        kind: "cpu" or "cuda".
        index: of the GPU; 0 for the CPU.
        count: workers there.
    """

    kind: str
    index: int
    count: int

    @property
    def device(self) -> str:
        """The device as torch calls it."""
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


def on_this_machine(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The settings with the device that "auto" is here, and the sentence that says which.

    Servers have no "auto" that means the same: Triton's is every GPU, Ray's is none.
    """
    asked = [part.strip() for part in settings.model.device.split(",")]
    if "auto" not in asked:
        return settings, ()
    from batching.execution.devices import resolve_placement

    here = resolve_placement("auto").device
    device = ",".join(here if part == "auto" else part for part in asked)
    model = settings.model.model_copy(update={"device": device})
    said = f"device=auto is {here} on this machine, and is exported as that: --device for another"
    return settings.model_copy(update={"model": model}), (said,)


def replicas(settings: Settings) -> list[Replicas]:
    """How many workers each device gets: as the batcher deals them out, in turn.

    Raises:
        InputError: `device` is none, or still "auto".
    """
    devices = [_device(part.strip()) for part in settings.model.device.split(",")]
    total = settings.batcher.replicas or len(devices)
    counts: dict[tuple[str, int], int] = {}
    for i in range(total):
        device = devices[i % len(devices)]
        counts[device] = counts.get(device, 0) + 1
    return [Replicas(kind, index, count) for (kind, index), count in counts.items()]


def one_kind(settings: Settings, server: str) -> list[Replicas]:
    """`replicas`, for a server whose workers are all on devices of one kind.

    Raises:
        InputError: they are not.
    """
    groups = replicas(settings)
    if len({group.kind for group in groups}) > 1:
        raise InputError(
            f"{server} takes devices of one kind, but got device={settings.model.device!r}"
        )
    return groups


def seconds(value_ms: float) -> str:
    """Milliseconds as a literal in seconds, exact to the microsecond and never 0 for a time > 0."""
    return repr(at_least_one(value_ms * 1e3, "a time", 2**53) / 1e6) if value_ms else "0.0"


def at_least_one(value: float, name: str, most: int) -> int:
    """The nearest whole number, at least 1.

    Raises:
        InputError: it is more than the server's field can hold.
    """
    return _fitting(max(1, round(value)), name, most)


def rounded_up(value: float, name: str, most: int) -> int:
    """The next whole number up, at least 1; rounding errors of the last digits aside.

    Raises:
        InputError: it is more than the server's field can hold.
    """
    return _fitting(max(1, ceil(round(value, 6))), name, most)


def _fitting(number: int, name: str, most: int) -> int:
    if number > most:
        raise InputError(f"{name} must be at most {most} for this server, but got {number}")
    return number


def _device(name: str) -> tuple[str, int]:
    kind, colon, index = name.partition(":")
    if name == "cpu":
        return kind, 0
    if kind == "cuda" and (not colon or (index.isascii() and index.isdigit())):
        return kind, int(index or 0)
    raise InputError(f"device must be auto, cpu, cuda or cuda:<index>, but got {name!r}")
