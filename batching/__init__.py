"""Dynamic batching of model inference: the part of dynbatch that a service runs.

Nothing here imports torch until a torch model or device is asked for.
"""

from typing import TYPE_CHECKING, Any

from batching.batcher import DynamicBatcher
from batching.clock import Clock, RealClock
from batching.errors import (
    BatcherClosedError,
    BatchExecutionError,
    BatchingError,
    ConfigError,
    DeviceError,
    ExecuteTimeoutError,
    ModelError,
    ProfileError,
    QueueFullError,
    RequestCancelledError,
    RequestError,
    RequestExpiredError,
    WorkerDiedError,
    WrongThreadError,
)
from batching.execution.warm_up import ColdStart
from batching.models import Model, Placement, load_model
from batching.options import FaultTolerance
from batching.policies import POLICIES, BatchingPolicy
from batching.request import BatchRecord, Request
from batching.statistics import Statistics
from batching.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from batching.models import TokenModel, TorchModel

__all__ = [
    "POLICIES",
    "BatchExecutionError",
    "BatchRecord",
    "BatcherClosedError",
    "BatchingError",
    "BatchingPolicy",
    "Clock",
    "ColdStart",
    "ConfigError",
    "DeviceError",
    "DynamicBatcher",
    "ExecuteTimeoutError",
    "FaultTolerance",
    "Model",
    "ModelError",
    "Placement",
    "ProfileError",
    "QueueFullError",
    "RealClock",
    "Request",
    "RequestCancelledError",
    "RequestError",
    "RequestExpiredError",
    "Statistics",
    "TokenModel",
    "TorchModel",
    "VirtualClock",
    "WorkerDiedError",
    "WrongThreadError",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name in {"TokenModel", "TorchModel"}:
        from batching import models

        return getattr(models, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
