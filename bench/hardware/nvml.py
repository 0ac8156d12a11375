"""One GPU as its driver describes it, by NVML: what it is, and how it is doing now."""

from dataclasses import dataclass
from itertools import pairwise
from math import nan
from statistics import median
from typing import Any

_ENOUGH_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Others:
    """Other processes that compute on a GPU; nan for what the driver does not tell.

    Attributes:
        count: how many.
        memory_bytes: how much of its memory they hold together.
    """

    count: float = nan
    memory_bytes: float = nan


class Gpu:
    """What NVML says of one CUDA device; nan or None for whatever GPU or driver do not tell.

    Args:
        index: as torch counts them.

    Attributes:
        why_not: why nothing at all can be asked of it; empty if it can.
    """

    def __init__(self, index: int) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._handle: Any = None
        self.why_not = ""
        try:
            pynvml.nvmlInit()
            self._handle = self._find(uuid_of(index))
        except pynvml.NVMLError as error:
            self.why_not = str(error)

    def _find(self, uuid: str) -> Any:
        """NVML numbers all GPUs, CUDA only the visible ones: the UUID is common to both."""
        try:
            return self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except self._nvml.NVMLError:
            return self._nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")

    def facts(self) -> dict[str, Any]:
        """What does not change during a run; None for what is not told.

        `nvml_utilization_period_s` is the spacing of the driver's own utilisation samples.
        """
        nvml, ask = self._nvml, self._ask
        memory = ask("nvmlDeviceGetMemoryInfo")
        return {
            "driver": self._driver(),
            "memory_bytes": None if memory is None else memory.total,
            "power_limit_w": _watts(ask("nvmlDeviceGetEnforcedPowerLimit")),
            "power_limit_default_w": _watts(ask("nvmlDeviceGetPowerManagementDefaultLimit")),
            "sm_clock_max_mhz": ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
            "sm_clock_set_mhz": ask("nvmlDeviceGetApplicationsClock", nvml.NVML_CLOCK_SM),
            "memory_clock_max_mhz": ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_MEM),
            "persistence_mode": _flag(ask("nvmlDeviceGetPersistenceMode")),
            "ecc_mode": _flag(_current(ask("nvmlDeviceGetEccMode"))),
            "mig_mode": self._mig(),
            "pcie": self._pcie(),
            "energy_counter": ask("nvmlDeviceGetTotalEnergyConsumption") is not None,
            "nvml_utilization_period_s": self.utilization_period_s(),
        }

    def sample(self) -> dict[str, float]:
        """One reading: shares as 0..1, bytes, watts, joules since the driver was loaded, MHz, °C.

        The driver's power reading is itself an average, over one second on most GPUs since Ampere
        (NVML API reference, nvmlDeviceGetPowerUsage).
        """
        nvml, ask = self._nvml, self._ask
        use, memory = ask("nvmlDeviceGetUtilizationRates"), ask("nvmlDeviceGetMemoryInfo")
        return {
            "gpu_utilization": nan if use is None else use.gpu / 100,
            "gpu_memory_bytes": nan if memory is None else float(memory.used),
            "gpu_power_w": _number(ask("nvmlDeviceGetPowerUsage")) / 1e3,
            "gpu_energy_j": _number(ask("nvmlDeviceGetTotalEnergyConsumption")) / 1e3,
            "gpu_sm_clock_mhz": _number(ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)),
            "gpu_memory_clock_mhz": _number(ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM)),
            "gpu_throttle_reasons": _number(self._throttle_reasons()),
            "gpu_temperature_c": _number(self._temperature_c()),
        }

    def others(self, *, ours: bool = True) -> Others:
        """The other processes that compute on it.

        Inside a container NVML may report the pids of the host, among which ours cannot be found;
        then one of them is taken to be ours, and what the others hold is not known. It may also
        report none at all; if we compute on it ourselves, that says that it does not tell.

        Args:
            ours: whether this process computes on it.
        """
        import os

        processes = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if processes is None or (ours and not processes):
            return Others()
        others = [process for process in processes if process.pid != os.getpid()]
        if ours and len(others) == len(processes):
            return Others(len(others) - 1, nan if len(others) > 1 else 0.0)
        held = [process.usedGpuMemory for process in others]
        return Others(len(others), nan if None in held else float(sum(held)))

    def utilization_period_s(self) -> float | None:
        """How far apart the driver's utilisation samples are; None if it keeps none.

        By the timestamps (CPU microseconds) of nvmlDeviceGetSamples. The reference says no more
        than that it is between 1/6 and 1 s, depending on the product (nvmlUtilization_t).
        """
        found = self._ask("nvmlDeviceGetSamples", self._nvml.NVML_GPU_UTILIZATION_SAMPLES, 0)
        if found is None:
            return None
        times_us = sorted({sample.timeStamp for sample in found[1] if sample.timeStamp})
        if len(times_us) < _ENOUGH_SAMPLES:
            return None
        return float(median(later - sooner for sooner, later in pairwise(times_us))) / 1e6

    def _throttle_reasons(self) -> Any:
        """Its newer name first: the old one is to go with CUDA 14, drivers before 535 know it."""
        found = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        return self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") if found is None else found

    def _temperature_c(self) -> Any:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        found = self._ask("nvmlDeviceGetTemperatureV", sensor)
        return self._ask("nvmlDeviceGetTemperature", sensor) if found is None else found

    def _mig(self) -> bool | None:
        """Whether it is a slice of a GPU, or a GPU that can be sliced."""
        if self._ask("nvmlDeviceIsMigDeviceHandle"):
            return True
        return _flag(_current(self._ask("nvmlDeviceGetMigMode")))

    def _pcie(self) -> str | None:
        generation = self._ask("nvmlDeviceGetCurrPcieLinkGeneration")
        width = self._ask("nvmlDeviceGetCurrPcieLinkWidth")
        if generation is None or width is None:
            return None
        return f"generation {generation}, {width} lanes"

    def _driver(self) -> str | None:
        try:
            return str(self._nvml.nvmlSystemGetDriverVersion())
        except self._nvml.NVMLError:
            return None

    def _ask(self, function: str, *arguments: Any) -> Any:
        """One answer; None where this GPU, driver or version of the bindings has none."""
        ask = getattr(self._nvml, function, None)
        if self._handle is None or ask is None:
            return None
        try:
            return ask(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def uuid_of(index: int) -> str:
    """The UUID of a CUDA device, without the prefix that NVML puts before it."""
    import torch

    return str(torch.cuda.get_device_properties(index).uuid)


def _number(value: Any) -> float:
    return nan if value is None else float(value)


def _watts(milliwatts: Any) -> float | None:
    return None if milliwatts is None else milliwatts / 1e3


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _current(modes: Any) -> Any:
    """The current one of a current and a pending mode."""
    return None if modes is None else modes[0]
