"""Samples of the process, the queue and the GPUs while a replay runs."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import pandas as pd
import psutil

from batching import Clock, Statistics
from bench.hardware.nvml import Others

_SAMPLE_PERIOD_S = 0.1
# Listing a device's processes takes the driver longer than all other readings together.
_OTHERS_EVERY = 10
_HOST_COLUMNS = ("t_s", "process_cpu_cores", "rss_bytes", "queue_depth", "in_flight")
_GPU_COLUMNS = (
    "gpu_utilization",
    "gpu_memory_bytes",
    "gpu_power_w",
    "gpu_energy_j",
    "gpu_sm_clock_mhz",
    "gpu_memory_clock_mhz",
    "gpu_throttle_reasons",
    "gpu_temperature_c",
    "gpu_other_processes",
    "gpu_other_bytes",
)


class Sensor(Protocol):
    """A GPU that can be asked; `bench.hardware.nvml.Gpu` is one."""

    def sample(self) -> dict[str, float]:
        """One reading, by the telemetry's columns."""
        ...

    def others(self) -> Others:
        """The other processes that compute on it."""
        ...


class Telemetry:
    """Takes a sample every tenth of a second in a thread of its own.

    A sample is a row about the process and the queue, whose device is "", and one about each GPU.

    Args:
        clock: real time.
        statistics: asks the target for its queue depth and requests in flight.
        gpus: the GPUs to watch, by the device's name.
    """

    def __init__(
        self,
        clock: Clock,
        statistics: Callable[[], Statistics],
        gpus: Mapping[str, Sensor] | None = None,
    ) -> None:
        self._clock = clock
        self._statistics = statistics
        self._process = psutil.Process()
        self._gpus = dict(gpus or {})
        self._rows: list[dict[str, Any]] = []
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
        columns = [*_HOST_COLUMNS, *_GPU_COLUMNS]
        frame = pd.DataFrame(self._rows, columns=columns, dtype=float)
        frame["t_s"] -= start_s
        frame["device"] = pd.Series([row["device"] for row in self._rows], dtype=object)
        return frame

    def _run(self) -> None:
        last_s, last_cpu_s = self._clock.now(), self._cpu_s()
        self._ask_gpus(0)  # before the window begins, for the energy at its beginning
        count = 0
        while not self._stopped.wait(_SAMPLE_PERIOD_S):
            now_s, cpu_s = self._clock.now(), self._cpu_s()
            counts = self._statistics()
            row = {
                "t_s": now_s,
                "device": "",
                "process_cpu_cores": (cpu_s - last_cpu_s) / (now_s - last_s),
                "rss_bytes": float(self._process.memory_info().rss),
                "queue_depth": float(counts.queue_depth),
                "in_flight": float(counts.in_flight),
            }
            self._rows.append(row)
            count += 1
            self._ask_gpus(count)
            last_s, last_cpu_s = now_s, cpu_s

    def _ask_gpus(self, count: int) -> None:
        for device, gpu in self._gpus.items():
            row: dict[str, Any] = {"t_s": self._clock.now(), "device": device, **gpu.sample()}
            if count % _OTHERS_EVERY == 0:
                others = gpu.others()
                row |= {
                    "gpu_other_processes": others.count,
                    "gpu_other_bytes": others.memory_bytes,
                }
            self._rows.append(row)

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
