"""Which executor runs a model."""

from collections.abc import Callable, Sequence
from typing import Any

from batching.clock import Clock
from batching.errors import (
    ConfigError,
)
from batching.execution.executor import Executor, HostExecutor
from batching.models.contract import (
    CallableModel,
    Model,
    Placement,
    require_plain_functions,
)


def make_executor(
    run: "Model | Callable[[list[Any]], Sequence[Any]]", placement: Placement, clock: Clock
) -> Executor:
    """The executor for a model, or for a plain function of a list of payloads.

    Raises:
        ConfigError: the engine is not one for such a model, or the model's methods or the function
            are `async def` or generators.
    """
    model = run if isinstance(run, Model) else CallableModel(run)
    require_plain_functions(model)
    if placement.engine != "eager" and not model.uses_torch:
        raise ConfigError(
            f"engine {placement.engine} must have a torch model, but got {model.name}"
        )
    if placement.engine == "compile" and not getattr(model, "compiles", False):
        raise ConfigError(
            f"engine compile must have a model that can be compiled (a TorchModel, say), "
            f"but got {model.name}"
        )
    copies_itself = getattr(model, "copies_itself", False)
    if placement.engine == "cudagraph" and copies_itself:
        raise ConfigError(f"engine cudagraph must have a model of torch, but got {model.name}")
    if placement.is_cuda and model.uses_torch and not copies_itself:
        from batching.execution.cuda import TorchCuda
        from batching.execution.cuda_executor import CudaExecutor

        return CudaExecutor(model, placement, clock, TorchCuda(placement.device))
    return HostExecutor(model, placement, clock)
