"""What a profile says in short: batch times by size, capacity, work, remarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from batching import Clock
from batching.execution.devices import device_name
from batching.execution.flops import count_flops
from batching.models import Model, Placement
from batching.profiles import ServiceProfile
from bench.hardware.devices import rounds_to_tf32
from bench.hardware.peaks import Peak, peak_of
from results.statistics.ranks import nearest_rank

# Requests whose work is counted, where their shapes differ.
_COUNTED = 64


@dataclass(frozen=True, slots=True)
class Work:
    """What a request takes of a device, and what the device could do.

    Attributes:
        flops_per_request: floating-point operations of one request, unpadded.
        peak: the device's published dense peak; None if it is not known.
    """

    flops_per_request: float
    peak: Peak | None

    def flops_per_s(self, profile: ServiceProfile, size: int) -> float:
        """What was achieved while batches of that size executed."""
        return size * self.flops_per_request / profile.parts_s(size).execute_s

    def mfu(self, profile: ServiceProfile, size: int) -> float | None:
        """The same as a share of the peak; None if that is not known."""
        if self.peak is None:
            return None
        return self.flops_per_s(profile, size) / self.peak.flops_per_s


def work_of(model: Model, placement: Placement, clock: Clock) -> Work | None:
    """The work of a request to a model that has been profiled; None if it cannot be counted."""
    if not model.uses_torch:
        return None
    rng = np.random.default_rng(0)
    payloads = [model.make_input(rng) for _ in range(_COUNTED)]
    counted = count_flops(model, placement, payloads, clock)
    if counted is None:
        return None
    name, tf32 = device_name(placement), rounds_to_tf32(counted)
    peak = peak_of(name, placement.dtype, tf32=tf32) if placement.is_cuda else None
    return Work(counted.per_request, peak)


def summarise(profile: ServiceProfile, work: Work | None = None) -> dict[str, Any]:
    """The profile in numbers, for `--json`; times in seconds, null where not known."""
    subject = profile.subject
    return {
        "model": subject.model,
        "device": subject.device,
        "device_name": subject.device_name,
        "dtype": subject.dtype,
        "engine": subject.engine,
        "captured_batch_sizes": list(subject.captured_batch_sizes),
        "channels_last": subject.channels_last,
        "peak_rps": profile.peak_rps,
        "peak_batch_size": profile.peak_batch_size,
        "knee": profile.knee,
        "batching_gain": profile.batching_gain,
        "max_batch_size": profile.max_batch_size,
        "stopped": profile.stopped,
        "stopped_at": profile.stopped_at,
        "interrupted": profile.interrupted,
        "spent_s": profile.spent_s,
        "cold_start_s": {
            "load": _known(profile.cold_start.load_s),
            "first_request": _known(profile.cold_start.first_request_s),
            "warm_up": _known(profile.cold_start.warm_up_s),
            "engine": profile.cold_start.engine_s,
        },
        "engine_bytes": profile.cold_start.engine_bytes,
        "overheads_s": {
            name: {"p50": quantile(times, 0.5), "p90": quantile(times, 0.9)}
            for name, times in (
                ("wake", profile.wake_s),
                ("timer", profile.timer_s),
                ("turn", profile.turn_s),
            )
        },
        "flops_per_request": None if work is None else work.flops_per_request,
        "peak_flops_per_s": None if work is None or work.peak is None else work.peak.flops_per_s,
        "peak_format": None if work is None or work.peak is None else work.peak.format,
        "sizes": [_size(profile, size, work) for size in profile.sizes],
        "lengths": {
            str(length): {str(b): profile.total_s(b, length) for b in profile.curve(length).sizes}
            for length in profile.lengths
        },
    }


def _size(profile: ServiceProfile, size: int, work: Work | None) -> dict[str, Any]:
    return {
        "batch_size": size,
        "samples": len(profile.curve().samples[size]),
        "total_s": profile.total_s(size),
        "p10_s": profile.quantile_s(size, 0.1),
        "p90_s": profile.quantile_s(size, 0.9),
        "error": _known(profile.error(size)),
        "rate_rps": profile.rate_rps(size),
        "parts_s": {
            name.removesuffix("_s"): time_s
            for name, time_s in profile.parts_s(size)._asdict().items()
        },
        "memory_bytes": profile.memory_bytes.get(size),
        "flops_per_s": None if work is None else work.flops_per_s(profile, size),
        "mfu": None if work is None else work.mfu(profile, size),
    }


def remarks(profile: ServiceProfile) -> list[str]:
    """What has to be said with the numbers: where it stopped and what is not certain."""
    said: list[str] = []
    if profile.stopped == "memory":
        said.append(f"a batch of {profile.stopped_at} ran out of memory")
    if profile.stopped == "refused":
        said.append(
            f"the model takes {profile.max_batch_size} at most: a batch of {profile.stopped_at} "
            f"raised {profile.refusal}"
        )
    if profile.stopped == "budget":
        said.append(
            f"batches of {profile.stopped_at} and more would not have fitted the budget of "
            f"{profile.budget_s:g} s: --budget {4 * profile.budget_s:g}s for more"
        )
    if profile.interrupted:
        said.append("interrupted: what was measured until then")
    uncertain = profile.uncertain_sizes
    if uncertain:
        known = [profile.error(size) for size in uncertain if isfinite(profile.error(size))]
        worst = f", {100 * max(known):.1f} % at worst" if known else ""
        few = len(uncertain) - len(known)
        counted = f"; {few} with fewer than 8 samples" if few else ""
        said.append(
            f"the medians of {len(uncertain)} of {len(profile.sizes)} sizes are not certain to "
            f"{100 * profile.target:g} %{worst}{counted}"
        )
    return said


def quantile(times_s: Sequence[float], q: float) -> float:
    """The q quantile, nearest rank."""
    ordered = sorted(times_s)
    return ordered[nearest_rank(q, len(ordered)) - 1]


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
