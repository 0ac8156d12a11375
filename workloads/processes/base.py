"""What an arrival process is."""

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from workloads.checks import positive
from workloads.errors import ProcessError
from workloads.trace import Times

# Times are in seconds of a clock that is good to a microsecond at best; beyond these limits the
# arithmetic of a burst would be about rounding rather than about arrivals.
SHORTEST_PHASE_S = 1e-6
LONGEST_PHASE_S = 1e6


@runtime_checkable
class ArrivalProcess(Protocol):
    """When requests arrive, for a mean rate that is named at each draw.

    A process is a frozen dataclass of what shapes the arrivals: their variability, the length of
    a burst. It never holds the rate, so a heavier load leaves the length of a burst alone.

    Draws are nested: from generators seeded alike, a longer draw begins with exactly the
    arrivals of a shorter one. A tail after the measured window therefore never changes the
    window.

    Attributes:
        kind: The name under which a trace file asks for the process.
    """

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def arrivals(self, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
        """Draw arrivals of mean rate `rate_rps` as float64 `[N]`, sorted, in [0, duration_s).

        Raises:
            ProcessError: A rate or duration that is not positive and finite, or more arrivals
                than fit in memory.
        """
        ...

    def gap_cv(self, rate_rps: float) -> float:
        """Standard deviation / mean of the time between arrivals, over a long time.

        By the process's formula, exact or to the accuracy that it states. inf where the gaps
        have no variance, nan where there is no formula.
        """
        ...


def as_json(process: ArrivalProcess) -> dict[str, Any]:
    """The process as a trace file writes it: its kind and its parameters."""
    names = (field.name for field in dataclasses.fields(process))
    return {"process": process.kind} | {name: _plain(getattr(process, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.as_json() if hasattr(value, "as_json") else value


def check_draw(rate_rps: float, duration_s: float) -> None:
    """Raise ProcessError unless both are positive and finite."""
    positive("rate_rps", rate_rps, ProcessError)
    positive("duration_s", duration_s, ProcessError)
