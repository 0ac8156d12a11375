"""Batching policies by name. A new one is one file here, one line below, and the contract suite."""

from collections.abc import Callable

from batching.errors import ConfigError
from batching.policies.contract import (
    BatchingPolicy,
    Decision,
    Dispatch,
    FinishedBatch,
    Lane,
    Shed,
    Wait,
    Waiting,
)
from batching.policies.timeout import TimeoutPolicy
from batching.policies.window import WindowPolicy

POLICIES: dict[str, Callable[[int, float], BatchingPolicy]] = {
    "timeout": TimeoutPolicy,
    "window": WindowPolicy,
}

__all__ = [
    "POLICIES",
    "BatchingPolicy",
    "Decision",
    "Dispatch",
    "FinishedBatch",
    "Lane",
    "Shed",
    "TimeoutPolicy",
    "Wait",
    "Waiting",
    "WindowPolicy",
    "make_policy",
]


def make_policy(name: str, max_batch_size: int, batch_timeout_s: float) -> BatchingPolicy:
    """Build the policy of that name.

    Raises:
        ConfigError: no such policy.
    """
    try:
        factory = POLICIES[name]
    except KeyError:
        known = ", ".join(sorted(POLICIES))
        raise ConfigError(f"policy must be one of {known}, but got {name!r}") from None
    return factory(max_batch_size, batch_timeout_s)
