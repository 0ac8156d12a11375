"""Batching policies by name. A new one is one file here, one line below, and the contract suite."""

from collections.abc import Callable

from batching.errors import ConfigError
from batching.plugins import PluginKind
from batching.policies.adaptive import AdaptivePolicy
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
from batching.policies.deadline import DeadlinePolicy
from batching.policies.options import PolicyOptions
from batching.policies.timeout import TimeoutPolicy
from batching.policies.window import WindowPolicy

POLICIES: dict[str, Callable[[PolicyOptions], BatchingPolicy]] = {
    "adaptive": AdaptivePolicy,
    "deadline": DeadlinePolicy,
    "timeout": TimeoutPolicy,
    "window": WindowPolicy,
}

__all__ = [
    "POLICIES",
    "AdaptivePolicy",
    "BatchingPolicy",
    "DeadlinePolicy",
    "Decision",
    "Dispatch",
    "FinishedBatch",
    "Lane",
    "PolicyOptions",
    "Shed",
    "TimeoutPolicy",
    "Wait",
    "Waiting",
    "WindowPolicy",
    "make_policy",
]

_PLUGIN = PluginKind("policy", "class", ConfigError)


def make_policy(name: str, options: PolicyOptions) -> BatchingPolicy:
    """Build the policy of that name.

    Args:
        name: one of `POLICIES`, or a class of the user's own as `path/to/file.py:Class` or
            `package.module:Class`; it is called with the options and must have the methods of
            `BatchingPolicy`.
        options: a policy ignores those that it has no use for.

    Raises:
        ConfigError: no such policy, it could not be built, or it needs an option that is not set.
    """
    factory = POLICIES.get(name)
    if factory is not None:
        return factory(options)
    source, _, attribute = name.rpartition(":")
    if not source:
        known = ", ".join(sorted(POLICIES))
        raise ConfigError(
            f"policy must be one of {known}, or path/to/file.py:Class, but got {name!r}"
        )
    policy: BatchingPolicy = _PLUGIN.build(source, attribute, options)
    for method in ("decide", "observe"):
        if not callable(getattr(policy, method, None)):
            raise ConfigError(f"policy {name} must have decide and observe, but has no {method}")
    return policy
