"""Whether the energy that requests take can be measured here."""

from math import isfinite

from batching.devices import resolve_placement
from batching.models.synthetic import SyntheticModel
from bench.errors import InputError
from bench.settings import ModelSettings


def require_energy_counter(settings: ModelSettings) -> None:
    """Check that the model runs on a GPU whose driver counts the energy it takes.

    Raises:
        InputError: it runs elsewhere, or on a GPU without such a counter.
        ConfigError: there is no such model or device.
    """
    from batching import RealClock, load_model
    from bench.hardware.nvml import Gpu

    expected = "objective energy must be on a GPU with an energy counter (NVML)"
    placement = resolve_placement(settings.device.split(",")[0].strip(), settings.dtype)
    model = load_model(settings.model, clock=RealClock(), weights=settings.weights)
    if isinstance(model, SyntheticModel):
        raise InputError(f"{expected}, but got {model.name}, which runs on none")
    if not placement.is_cuda:
        raise InputError(f"{expected}, but got {placement.device}")
    gpu = Gpu(int(placement.device.partition(":")[2]))
    if not isfinite(gpu.sample()["gpu_energy_j"]):
        raise InputError(f"{expected}, but got {placement.device}, which does not count")
