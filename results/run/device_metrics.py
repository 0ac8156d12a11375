"""What the devices did during the window, each by itself and all together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from results.arrays import BoolArray, FloatArray
from results.run.intervals import Devices, busy
from results.run.logs import RunLogs, floats, floats_if_any, inside
from results.run.throttle_reasons import LIMITING, words

EnergySource = Literal["counter", "power"]

# Energy is scaled up from the covered part of the window; from less than this it would be a guess.
_LEAST_COVERED = 0.5


class DeviceMetrics(BaseModel):
    """What one device did during the window, or all of them together.

    Of several devices, fractions, clocks and NVML utilisation are means over the devices, power,
    energy and memory are sums, temperature is the highest.

    `busy_fraction`: union of the batches' execution intervals / window;
    `busy_s_per_request`: that union, summed over the devices / requests completed ok;
    `nvml_utilization`: mean of what the driver says, which is another thing;
    `memory_bytes`: peak, of the GPU where it is measured and of the process otherwise;
    `power_w`: mean of the driver's readings;
    `energy_j`, `energy_j_per_request`: of the window, from the energy counter or, where there is
    none, from the power readings, as `energy_source` says;
    `sm_clock_mhz`, `sm_clock_min_mhz`: mean and lowest clock of the multiprocessors;
    `temperature_c`: highest;
    `throttled_fraction`: samples in which the clock was held down, for `throttle_reasons`;
    `flops_per_s`: floating-point operations of the answered requests / busy time;
    `mfu`: that / the published dense peak of the chip for the number format;
    `cpu_utilization`: mean CPU use of the process / cores of the machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    busy_fraction: float | None = None
    busy_s_per_request: float | None = None
    nvml_utilization: float | None = None
    memory_bytes: float | None = None
    power_w: float | None = None
    energy_j: float | None = None
    energy_j_per_request: float | None = None
    energy_source: EnergySource | None = None
    sm_clock_mhz: float | None = None
    sm_clock_min_mhz: float | None = None
    temperature_c: float | None = None
    throttled_fraction: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    flops_per_s: float | None = None
    mfu: float | None = None
    cpu_utilization: float | None = None


@dataclass(frozen=True, slots=True)
class Hardware:
    """What is known of devices and model beside the logs.

    Args:
        devices: Which device each replica works on.
        cores: Cores of the machine; without it CPU utilisation is not measured.
        flops_per_request: Floating-point operations of one request, unpadded.
        peak_flops_per_s: The published dense peak by device, where it is known.
    """

    devices: Devices
    cores: int | None = None
    flops_per_request: float | None = None
    peak_flops_per_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Measured:
    """One device's window, not yet divided by anything; None is "not measured"."""

    busy_s: float | None
    answers: int
    peak_flops_per_s: float | None
    nvml_utilization: float | None
    memory_bytes: float | None
    power_w: float | None
    energy_j: float | None
    energy_source: EnergySource | None
    sm_clock_mhz: float | None
    sm_clock_min_mhz: float | None
    temperature_c: float | None
    masks: "np.ndarray[tuple[int], np.dtype[np.int64]]"


def device_metrics(
    logs: RunLogs, window_s: float, hardware: Hardware, completed: BoolArray
) -> tuple[DeviceMetrics, dict[str, DeviceMetrics]]:
    """Return the metrics of all devices together, and of each where there are several by name.

    Args:
        logs: The four logs.
        window_s: Length of the measured window, seconds.
        hardware: What is known beside them.
        completed: Which requests ended ok inside the window, `[requests]`.
    """
    devices = hardware.devices
    covered = busy(logs.batches, devices)
    answers = _answers(logs, devices, completed)
    measured = [
        _measure(
            of_device(logs.telemetry, name, alone=name == devices.names[0]),
            window_s,
            busy_s=None if covered is None else covered[name].between(0.0, window_s),
            answers=answers.get(name, 0),
            peak_flops_per_s=hardware.peak_flops_per_s.get(name),
        )
        for name in devices.names
    ]
    flops = hardware.flops_per_request
    total = _reduced(measured, window_s, int(completed.sum()), flops)
    each: dict[str, DeviceMetrics] = {}
    if devices.named and len(devices.names) > 1:
        for name, one in zip(devices.names, measured, strict=True):
            each[name] = _reduced([one], window_s, one.answers, flops)
    return total.model_copy(update=_of_process(logs, window_s, hardware, total)), each


def of_device(telemetry: pd.DataFrame, name: str, *, alone: bool = False) -> pd.DataFrame:
    """Return the samples of one device; with `alone` also those that name none."""
    if "device" not in telemetry:
        return telemetry if alone else telemetry.iloc[:0]
    return telemetry[telemetry["device"] == name]


def sampled_devices(telemetry: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the samples by the device they are of; "" for those that name none."""
    if "device" not in telemetry:
        return {"": telemetry}
    return {str(name): rows for name, rows in telemetry.groupby("device", sort=True)}


def _answers(logs: RunLogs, devices: Devices, completed: BoolArray) -> dict[str, int]:
    """Return how many of the completed requests each device answered."""
    where = pd.Series(devices.of_batches(logs.batches), index=np.asarray(logs.batches["batch"]))
    ran = np.asarray(logs.requests["batch"])[completed]
    counts = where.reindex(ran[ran >= 0]).value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def _measure(
    samples: pd.DataFrame,
    window_s: float,
    *,
    busy_s: float | None,
    answers: int,
    peak_flops_per_s: float | None,
) -> _Measured:
    within = samples[inside(floats(samples, "t_s"), window_s)]
    energy_j, source = _energy(samples, window_s)
    masks = _known(floats(within, "gpu_throttle_reasons"))
    clock = _known(floats(within, "gpu_sm_clock_mhz"))
    return _Measured(
        busy_s=busy_s,
        answers=answers,
        peak_flops_per_s=peak_flops_per_s,
        nvml_utilization=_mean(floats(within, "gpu_utilization")),
        memory_bytes=_peak(floats(within, "gpu_memory_bytes")),
        power_w=_mean(floats(within, "gpu_power_w")),
        energy_j=energy_j,
        energy_source=source,
        sm_clock_mhz=_mean(clock),
        sm_clock_min_mhz=float(clock.min()) if len(clock) else None,
        temperature_c=_peak(floats_if_any(within, "gpu_temperature_c")),
        masks=masks.astype(np.int64),
    )


def _energy(samples: pd.DataFrame, window_s: float) -> tuple[float | None, EnergySource | None]:
    """Return the window's energy, joules, and where it is from.

    The counter's difference, or else the integral of the power readings (trapezoids), each over
    the part of the window that its samples cover, scaled up to the whole.
    """
    at_s = floats(samples, "t_s")
    counter, power = floats(samples, "gpu_energy_j"), floats(samples, "gpu_power_w")
    of_counter = _over_window(at_s, counter, window_s)
    if of_counter is not None and of_counter >= 0.0:
        return of_counter, "counter"
    known = np.isfinite(power)
    steps = np.diff(at_s[known]) * (power[known][:-1] + power[known][1:]) / 2.0
    integral = np.full(len(power), np.nan)
    integral[known] = np.concatenate((np.zeros(min(1, int(known.sum()))), np.cumsum(steps)))
    of_power = _over_window(at_s, integral, window_s)
    return of_power, None if of_power is None else "power"


def _over_window(at_s: FloatArray, growing: FloatArray, window_s: float) -> float | None:
    """Return by how much a running total grew over [0, window_s]; None if too little is known."""
    known = np.isfinite(growing)
    at_s, growing = at_s[known], growing[known]
    if len(at_s) < 2:
        return None
    first_s, last_s = max(0.0, float(at_s[0])), min(window_s, float(at_s[-1]))
    if last_s - first_s < _LEAST_COVERED * window_s:
        return None
    before, after = np.interp([first_s, last_s], at_s, growing)
    return float(after - before) * window_s / (last_s - first_s)


def _reduced(
    measured: Sequence[_Measured], window_s: float, answers: int, flops_per_request: float | None
) -> DeviceMetrics:
    """Return the metrics of some devices, one or more."""
    busy_s = _all([one.busy_s for one in measured])
    energy_j = _all([one.energy_j for one in measured])
    sources = {one.energy_source for one in measured}
    masks = np.concatenate([one.masks for one in measured])
    seen = int(np.bitwise_or.reduce(masks)) if len(masks) else 0
    worked = None if flops_per_request is None else flops_per_request * answers
    peaks = [one.peak_flops_per_s for one in measured]
    could = _all(
        [
            None if peak is None or one.busy_s is None else peak * one.busy_s
            for peak, one in zip(peaks, measured, strict=True)
        ]
    )
    return DeviceMetrics(
        busy_fraction=None if busy_s is None else sum(busy_s) / (len(measured) * window_s),
        busy_s_per_request=None if busy_s is None or not answers else sum(busy_s) / answers,
        nvml_utilization=_mean_of(_all([one.nvml_utilization for one in measured])),
        memory_bytes=_sum_of(_all([one.memory_bytes for one in measured])),
        power_w=_sum_of(_all([one.power_w for one in measured])),
        energy_j=_sum_of(energy_j),
        energy_j_per_request=None if energy_j is None or not answers else sum(energy_j) / answers,
        energy_source=None if energy_j is None else "power" if "power" in sources else "counter",
        sm_clock_mhz=_mean_of(_all([one.sm_clock_mhz for one in measured])),
        sm_clock_min_mhz=min(_all([one.sm_clock_min_mhz for one in measured]) or [], default=None),
        temperature_c=max(_all([one.temperature_c for one in measured]) or [], default=None),
        throttled_fraction=float(((masks & LIMITING) != 0).mean()) if len(masks) else None,
        throttle_reasons=words(seen, limiting=True) if len(masks) else None,
        flops_per_s=_ratio(worked, _sum_of(busy_s)),
        mfu=_ratio(worked, _sum_of(could)),
    )


def _of_process(
    logs: RunLogs, window_s: float, hardware: Hardware, total: DeviceMetrics
) -> dict[str, float | None]:
    """Return what is of the process and not of a device."""
    samples = logs.telemetry[inside(floats(logs.telemetry, "t_s"), window_s)]
    cpu_cores, cores = _mean(floats(samples, "process_cpu_cores")), hardware.cores
    memory = total.memory_bytes
    return {
        "memory_bytes": _peak(floats(samples, "rss_bytes")) if memory is None else memory,
        "cpu_utilization": None if cpu_cores is None or cores is None else cpu_cores / cores,
    }


def _all(values: Sequence[float | None]) -> list[float] | None:
    """Return the values, or None where one is missing: a sum of some devices is no sum."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _sum_of(values: list[float] | None) -> float | None:
    return None if values is None else sum(values)


def _mean_of(values: list[float] | None) -> float | None:
    return None if values is None else sum(values) / len(values)


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if not above or not below else above / below


def _known(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _mean(values: FloatArray) -> float | None:
    measured = _known(values)
    return float(measured.mean()) if len(measured) else None


def _peak(values: FloatArray) -> float | None:
    measured = _known(values)
    return float(measured.max()) if len(measured) else None
