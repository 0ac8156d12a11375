"""The GPUs of this machine: what torch sees, what their drivers tell, and who is on them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from batching.models import Placement
from bench.hardware.devices import device_facts
from bench.hardware.nvml import Gpu, Others, uuid_of


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One CUDA device.

    Attributes:
        device: as torch calls it.
        facts: see `bench.hardware.devices.device_facts`.
        state: a reading of its sensors, by the telemetry's columns; nan for what is not told.
        others: processes that computed on it before this one looked.
        why_not: why its driver tells nothing; empty if it tells.
    """

    device: str
    facts: dict[str, Any]
    state: dict[str, float]
    others: Others
    why_not: str = ""

    def tells(self, column: str) -> bool:
        """Whether it gives that reading."""
        return not isnan(self.state.get(column, nan))


@dataclass(frozen=True, slots=True)
class Accelerators:
    """All of them.

    Attributes:
        found: the CUDA devices.
        installed: how many NVIDIA GPUs the driver knows, torch's or not; 0 without a driver.
        torch_cuda: the CUDA version torch was built for; None for a torch without CUDA.
    """

    found: tuple[Accelerator, ...] = ()
    installed: int = 0
    torch_cuda: str | None = None


def look(dtype: str = "fp16") -> Accelerators:
    """Look at every GPU; nothing is run on any of them.

    Args:
        dtype: the format whose published peak is told.
    """
    before = computing_before()  # to ask torch for a device may make us compute on it ourselves
    import torch

    built_for = getattr(torch.version, "cuda", None)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = tuple(_accelerator(index, dtype, before) for index in range(count))
    return Accelerators(found, len(before), built_for)


def computing_before() -> dict[str, Others]:
    """Who computes on each GPU that the driver knows, by its UUID; empty without a driver."""
    import pynvml

    found: dict[str, Others] = {}
    try:
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found[str(pynvml.nvmlDeviceGetUUID(handle))] = _computing(pynvml, handle)
    except pynvml.NVMLError:
        return found
    return found


def _computing(nvml: Any, handle: Any) -> Others:
    try:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:
        return Others()
    held = [process.usedGpuMemory for process in processes if process.pid != os.getpid()]
    return Others(len(held), nan if None in held else float(sum(held)))


def _accelerator(index: int, dtype: str, before: Mapping[str, Others]) -> Accelerator:
    placement, gpu = Placement(f"cuda:{index}", dtype), Gpu(index)
    others = before.get(f"GPU-{uuid_of(index)}", Others())
    return Accelerator(
        placement.device, device_facts(placement, gpu, None), gpu.sample(), others, gpu.why_not
    )
