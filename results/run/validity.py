"""Whether a run's numbers can be believed: a closed list of findings, each with its remedy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict

from results import format as fmt
from results.arrays import FloatArray
from results.run.device_metrics import sampled_devices
from results.run.logs import RunLogs, floats, floats_if_any, inside
from results.run.metrics import Metrics, counted
from results.run.queue_length import saturation
from results.run.steady_state import drift
from results.run.throttle_reasons import LIMITING, words

FEWEST_FOR_P99 = 459
"""Below this many independent requests, no p99 holds at 99 % confidence: 0.99^459 < 0.01."""

SLIP_BUDGET = 0.1
"""The p99 of slip may be this share of the p99 of latency."""

_LEAST_THROTTLED = 0.01
# Shares above which batches count as full, and a device as what limits the rate.
_FULL, _BUSY = 0.8, 0.8


class FindingCode(StrEnum):
    """Everything that can make a run not valid."""

    TOO_FEW_REQUESTS = "too_few_requests"
    SLIP_OVER_BUDGET = "slip_over_budget"
    NOT_STEADY = "not_steady"
    SATURATED = "saturated"
    ERRORS = "errors"
    GPU_THROTTLED = "gpu_throttled"
    COMPETING_PROCESSES = "competing_processes"
    PROFILE_MISMATCH = "profile_mismatch"


class Finding(BaseModel):
    """One reason why a run is not valid, and what its user can do about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: FindingCode
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checks look at.

    `config` is that of run.json; it only makes the remedies more specific. `pass_s` is how long
    one pass of a looped recording lasts, in seconds; None for arrivals that do not repeat.
    """

    logs: RunLogs
    metrics: Metrics
    window_s: float
    config: Mapping[str, object] = field(default_factory=dict)
    pass_s: float | None = None

    @property
    def repeats(self) -> bool:
        """Whether arrivals of the window repeat earlier ones."""
        return self.pass_s is not None and self.pass_s < self.window_s

    @property
    def distinct_answers(self) -> int:
        """How many answers count as evidence: of a looped recording, those of its first pass."""
        if self.pass_s is None or not self.repeats:
            return self.metrics.counts.ok
        return int(counted(self.logs.requests, self.pass_s).sum())

    def samples_by_device(self, name: str) -> dict[str, FloatArray]:
        """Return the measured values of a telemetry column inside the window, by device.

        The device is "" where there is only one.
        """
        found: dict[str, FloatArray] = {}
        for device, rows in sampled_devices(self.logs.telemetry).items():
            values = floats_if_any(rows, name)
            within = inside(floats(rows, "t_s"), self.window_s)
            found[device] = values[within & np.isfinite(values)]
        gpus = [device for device in found if device]
        return {"": found[gpus[0]]} if len(gpus) == 1 else found


def check(evidence: Evidence) -> list[Finding]:
    """Return what makes the run not valid, the gravest first; nothing if it is valid."""
    return [finding for examine in _CHECKS if (finding := examine(evidence)) is not None]


def _errors(evidence: Evidence) -> Finding | None:
    counts = evidence.metrics.counts
    endings = {"failed": counts.failed, "were cancelled unanswered": counts.cancelled}
    said = [f"{fmt.count(number)} {ending}" for ending, number in endings.items() if number]
    if not said:
        return None
    return Finding(
        code=FindingCode.ERRORS,
        message=f"of {_requests(counts.submitted)} {' and '.join(said)}",
        remedy="Look at the model's error in the run's output, mend it and run again; latency is "
        "of the requests that were answered and says nothing of the others.",
    )


def _saturated(evidence: Evidence) -> Finding | None:
    how = saturation(evidence.logs.requests, evidence.window_s)
    if how is None:
        return None
    metrics = evidence.metrics
    way_out = "lower --rate or --utilization"
    if metrics.throughput_rps > 0.0:
        way_out = f"offer less than {fmt.rate(metrics.throughput_rps)} (--rate or --utilization)"
    if _larger_batches_help(evidence):
        way_out += (
            f", or raise --max-batch-size above {evidence.config['max_batch_size']}: "
            f"batches were {fmt.percent(metrics.batch.efficiency)} full"
        )
    elif evidence.config.get("policy") == "window":
        way_out += (
            f", or shorten --batch-timeout-ms ({evidence.config.get('batch_timeout_ms')}): "
            "this policy waits it out before every batch, or try --policy timeout"
        )
    return Finding(
        code=FindingCode.SATURATED,
        message=f"the load was more than the system can serve: {how}; latency says how long the "
        "run was, not how fast the system is",
        remedy=f"To measure latency, {way_out}.",
    )


def _larger_batches_help(evidence: Evidence) -> bool:
    """Whether batches were full, the device busy with them, and larger ones are not known as slow.

    A device that was idle waited for requests to be sent or handled, whatever the batch.
    """
    batch, busy = evidence.metrics.batch, evidence.metrics.device.busy_fraction
    limit = evidence.config.get("max_batch_size")
    if not isinstance(limit, int) or (batch.efficiency or 0.0) <= _FULL:
        return False
    if busy is not None and busy < _BUSY:
        return False
    probed = evidence.config.get("probe_batch_s")
    if not isinstance(probed, Mapping) or not probed:
        return True
    rates = {int(size): int(size) / float(time_s) for size, time_s in probed.items()}
    up_to = max((rate for size, rate in rates.items() if size <= limit), default=0.0)
    beyond = [rate for size, rate in rates.items() if size > limit]
    return not beyond or max(beyond) > up_to


def _not_steady(evidence: Evidence) -> Finding | None:
    found = drift(evidence.logs.requests, evidence.window_s)
    if found is None or saturation(evidence.logs.requests, evidence.window_s) is not None:
        return None
    show = fmt.duration if found.what == "latency" else fmt.number
    grew = "grew" if found.last > found.first else "fell"
    when = "the window" if found.settles_s is None else "the first part of the window"
    remedy = (
        "Run for longer (--duration), and let the machine reach its working temperature and other "
        "programs end first; if it keeps changing, the load or the machine does."
    )
    if found.settles_s is not None:
        remedy = (
            f"It settled after about {fmt.duration(found.settles_s)}: run for longer (--duration), "
            "so that the start counts for less."
        )
    return Finding(
        code=FindingCode.NOT_STEADY,
        message=f"{found.what} {grew} over {when}, from about {show(found.first)} to "
        f"{show(found.last)}; its percentiles describe no one state",
        remedy=remedy,
    )


def _too_few_requests(evidence: Evidence) -> Finding | None:
    answered = evidence.distinct_answers
    if answered >= FEWEST_FOR_P99:
        return None
    if evidence.repeats:
        return Finding(
            code=FindingCode.TOO_FEW_REQUESTS,
            message=f"{_requests(answered)} answered in the first pass of the recording, which "
            "those after it only repeat; a p99 at 99 % confidence takes "
            f"{FEWEST_FOR_P99}",
            remedy="Replay a longer recording, or draw new arrivals from a process fitted to this "
            "one (dynbatch trace fit).",
        )
    remedy = f"Run for longer (--duration) or at a higher --rate until {FEWEST_FOR_P99} are."
    rate = answered / evidence.window_s
    if rate > 0.0:
        needed_s = 1.1 * FEWEST_FOR_P99 / rate
        remedy = (
            f"Run for {fmt.duration(max(1.0, np.ceil(needed_s)))} or longer (--duration), "
            "or at a higher --rate."
        )
    return Finding(
        code=FindingCode.TOO_FEW_REQUESTS,
        message=f"{_requests(answered)} answered; a p99 at 99 % confidence takes {FEWEST_FOR_P99}",
        remedy=remedy,
    )


def _slip_over_budget(evidence: Evidence) -> Finding | None:
    metrics = evidence.metrics
    slip_s, latency_s, stall_s = metrics.slip_s.p99, metrics.latency_s.p99, metrics.stall_s.p99
    if slip_s is None or latency_s is None or slip_s <= SLIP_BUDGET * latency_s:
        return None
    stalls = "the machine's own stalls were not measured"
    remedy = "Close other programs, or lower --rate, and run again."
    if stall_s is not None:
        stalls = (
            f"an idle thread of this machine woke up late by {fmt.duration(stall_s)} at p99 and "
            f"{fmt.duration(metrics.stall_s.max)} at most"
        )
        if stall_s >= 0.5 * slip_s:
            remedy = (
                "The machine is noisy: close other programs, or use one whose cores are not "
                "shared, and run again."
            )
        else:
            remedy = (
                "The machine is calm, so the sender lacks CPU time: lower --rate, or leave a core "
                "free of the model's threads."
            )
    return Finding(
        code=FindingCode.SLIP_OVER_BUDGET,
        message=f"requests were sent late, by {fmt.duration(slip_s)} at p99, which is more than "
        f"{fmt.percent(SLIP_BUDGET)} of the p99 latency ({fmt.duration(latency_s)}); {stalls}",
        remedy=remedy,
    )


def _gpu_throttled(evidence: Evidence) -> Finding | None:
    worst: tuple[float, str, FloatArray] = (0.0, "", np.empty(0))
    for name, values in evidence.samples_by_device("gpu_throttle_reasons").items():
        masks = values.astype(np.int64)
        throttled = masks[(masks & LIMITING) != 0]
        if len(throttled) and len(throttled) / len(masks) > worst[0]:
            worst = (len(throttled) / len(masks), name, throttled)
    share, name, throttled = worst
    if share < _LEAST_THROTTLED:
        return None
    reasons = " and ".join(words(int(np.bitwise_or.reduce(throttled)), limiting=True))
    return Finding(
        code=FindingCode.GPU_THROTTLED,
        message=f"the GPU {name} lowered its clock".replace("  ", " ")
        + f" in {fmt.percent(share)} of the samples, because of {reasons}",
        remedy="Let it cool down or raise its power limit, or fix its clocks at a rate it can "
        "hold (nvidia-smi --lock-gpu-clocks), and run again.",
    )


def _competing_processes(evidence: Evidence) -> Finding | None:
    most: tuple[int, str] = (0, "")
    for name, others in evidence.samples_by_device("gpu_other_processes").items():
        if len(others) and int(others.max()) > most[0]:
            most = (int(others.max()), name)
    number, name = most
    if not number:
        return None
    held = evidence.samples_by_device("gpu_other_bytes")[name]
    memory = f", holding {fmt.size(float(held.max()))} of its memory" if len(held) else ""
    processes = "1 other process" if number == 1 else f"{number} other processes"
    gpu = f"the same GPU ({name})" if name else "the same GPU"
    return Finding(
        code=FindingCode.COMPETING_PROCESSES,
        message=f"{processes} computed on {gpu}{memory}",
        remedy="End them (nvidia-smi lists them) or choose another GPU with --device, and run "
        "again.",
    )


def _profile_mismatch(evidence: Evidence) -> Finding | None:
    differences = evidence.config.get("profile_differences")
    if not isinstance(differences, list | tuple) or not differences:
        return None
    return Finding(
        code=FindingCode.PROFILE_MISMATCH,
        message=f"the profile is not of what it was used for: its {', its '.join(differences)}",
        remedy="Measure one with dynbatch profile, and leave --force out.",
    )


def _requests(number: int) -> str:
    return "1 request" if number == 1 else f"{fmt.count(number)} requests"


_CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    _errors,
    _saturated,
    _not_steady,
    _too_few_requests,
    _slip_over_budget,
    _gpu_throttled,
    _competing_processes,
    _profile_mismatch,
)
