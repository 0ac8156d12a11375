"""Samples of the process, the queue and the GPU while a replay runs."""

import contextlib
import threading
from collections.abc import Callable
from math import nan
from typing import Any, Self

import pandas as pd
import psutil

from batching import Clock, Statistics

_SAMPLE_PERIOD_S = 0.1
_HOST_COLUMNS = ("t_s", "process_cpu_cores", "rss_bytes", "queue_depth", "in_flight")
GPU_COLUMNS = (
    "gpu_utilization",
    "gpu_memory_bytes",
    "gpu_power_w",
    "gpu_energy_j",
    "gpu_sm_clock_mhz",
    "gpu_throttle_reasons",
    "gpu_other_processes",
)


class Telemetry:
    """Takes a sample every tenth of a second in a thread of its own.

    Args:
        clock: real time.
        statistics: asks the target for its queue depth and requests in flight.
        gpu_index: the CUDA device to watch; None where there is none.
    """

    def __init__(
        self, clock: Clock, statistics: Callable[[], Statistics], gpu_index: int | None = None
    ) -> None:
        self._clock = clock
        self._statistics = statistics
        self._process = psutil.Process()
        self._gpu = None if gpu_index is None else GpuSensor(gpu_index)
        self._rows: list[dict[str, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dynbatch-telemetry", daemon=True)

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._stopped.set()
        self._thread.join()

    def frame(self, start_s: float) -> pd.DataFrame:
        """The samples, `t_s` relative to `start_s`."""
        frame = pd.DataFrame(self._rows, columns=[*_HOST_COLUMNS, *GPU_COLUMNS], dtype=float)
        frame["t_s"] -= start_s
        return frame

    def _run(self) -> None:
        last_s, last_cpu_s = self._clock.now(), self._cpu_s()
        while not self._stopped.wait(_SAMPLE_PERIOD_S):
            now_s, cpu_s = self._clock.now(), self._cpu_s()
            counts = self._statistics()
            row = {
                "t_s": now_s,
                "process_cpu_cores": (cpu_s - last_cpu_s) / (now_s - last_s),
                "rss_bytes": float(self._process.memory_info().rss),
                "queue_depth": float(counts.queue_depth),
                "in_flight": float(counts.in_flight),
            }
            if self._gpu is not None:
                row |= self._gpu.sample()
            self._rows.append(row)
            last_s, last_cpu_s = now_s, cpu_s

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


class GpuSensor:
    """What NVML says of one GPU; nan for whatever this GPU or driver does not tell."""

    def __init__(self, index: int) -> None:
        import pynvml
        import torch

        self._nvml: Any = pynvml
        self._handle: Any = None
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            # NVML numbers all GPUs, CUDA only the visible ones: the UUID is common to both.
            uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)

    def sample(self) -> dict[str, float]:
        """One reading: shares as 0..1, bytes, watts, joules since boot, MHz."""
        nvml, ask = self._nvml, self._ask
        return {
            "gpu_utilization": ask(lambda h: nvml.nvmlDeviceGetUtilizationRates(h).gpu / 100),
            "gpu_memory_bytes": ask(lambda h: nvml.nvmlDeviceGetMemoryInfo(h).used),
            "gpu_power_w": ask(lambda h: nvml.nvmlDeviceGetPowerUsage(h) / 1e3),
            "gpu_energy_j": ask(lambda h: nvml.nvmlDeviceGetTotalEnergyConsumption(h) / 1e3),
            "gpu_sm_clock_mhz": ask(lambda h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_SM)),
            "gpu_throttle_reasons": ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons),
            "gpu_other_processes": ask(self._other_processes),
        }

    def _other_processes(self, handle: Any) -> int:
        """Compute processes on the device that are not this one.

        Inside a container NVML may report pids of the host, in which ours cannot be found; then
        one of them is taken to be ours.
        """
        import os

        pids = {p.pid for p in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        if not pids:
            return 0
        return len(pids - {os.getpid()}) if os.getpid() in pids else len(pids) - 1

    def _ask(self, question: Callable[[Any], float]) -> float:
        if self._handle is None:
            return nan
        try:
            return float(question(self._handle))
        except self._nvml.NVMLError:
            return nan
