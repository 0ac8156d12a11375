"""The range checks that traces, processes and options share, all with one grammar."""

import math

from workloads.errors import WorkloadError


def positive(name: str, value: float, error: type[WorkloadError]) -> None:
    """Raise `error` unless 0 < value < infinity."""
    if not 0 < value < math.inf:
        raise error(f"{name} must be > 0 and finite, but got {value:.12g}")


def not_negative(name: str, value: float, error: type[WorkloadError]) -> None:
    """Raise `error` unless 0 <= value < infinity."""
    if not 0 <= value < math.inf:
        raise error(f"{name} must be >= 0 and finite, but got {value:.12g}")


def within(name: str, value: float, low: float, high: float, error: type[WorkloadError]) -> None:
    """Raise `error` unless low <= value <= high."""
    if not low <= value <= high:
        raise error(f"{name} must be between {low:.12g} and {high:.12g}, but got {value:.12g}")
