"""The devices of a run: what they are, what they could do, and how to ask them while it lasts."""

from collections.abc import Sequence
from typing import Any

from batching.execution.devices import device_name
from batching.execution.flops import FlopCount
from batching.models import Placement
from bench.hardware.nvml import Gpu
from bench.hardware.peaks import peak_of


class DeviceWatch:
    """The devices of a run.

    It asks the drivers for what does not change: make it before anything is timed.

    Args:
        placements: one for each device; none of a model that runs on none.
        counted: the work of a request; None if it cannot be counted.

    Attributes:
        gpus: those that can be asked while the run lasts, by the device's name.
        facts: what is known of each device, by its name; empty for a model that runs on none.
        flops: the work of a request, as run.json has it; None if it cannot be counted.
    """

    def __init__(self, placements: Sequence[Placement], counted: FlopCount | None) -> None:
        self.gpus: dict[str, Gpu] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        for placement in placements:
            gpu = Gpu(cuda_index(placement)) if placement.is_cuda else None
            if gpu is not None and not gpu.why_not:
                self.gpus[placement.device] = gpu
            self.facts[placement.device] = device_facts(placement, gpu, counted)
        self.flops = None if counted is None else describe_flops(counted)


def cuda_index(placement: Placement) -> int:
    """Which of torch's CUDA devices it is."""
    return int(placement.device.partition(":")[2])


def device_facts(
    placement: Placement, gpu: Gpu | None, counted: FlopCount | None
) -> dict[str, Any]:
    """What is known of a device; None for what its driver does not tell."""
    facts: dict[str, Any] = {"name": device_name(placement)}
    if gpu is None:
        return facts
    facts |= gpu.facts() if not gpu.why_not else {"nvml": gpu.why_not}
    peak = peak_of(facts["name"], placement.dtype, tf32=rounds_to_tf32(counted))
    return facts | {
        "peak_flops_per_s": None if peak is None else peak.flops_per_s,
        "peak_format": None if peak is None else peak.format,
        "peak_source": None if peak is None else peak.source,
    }


def describe_flops(counted: FlopCount) -> dict[str, Any]:
    """The work of a request, for run.json."""
    return {
        "per_request": counted.per_request,
        "requests": counted.requests,
        "convolution_share": counted.convolution_share,
        "by": "torch.utils.flop_counter",
    }


def rounds_to_tf32(counted: FlopCount | None) -> bool:
    """Whether torch lets tensor cores round fp32 to tf32 where most of the work is.

    By default it does for convolutions and does not for matrix products.
    """
    import torch

    convolutions = counted is not None and counted.convolution_share > 0.5
    try:
        if convolutions:
            return bool(torch.backends.cudnn.allow_tf32)
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:
        # torch 2.9 has newer settings, beside which it refuses to tell the older ones.
        own: Any = torch.backends.cudnn.conv if convolutions else torch.backends.cuda.matmul  # type: ignore[attr-defined]
        return bool(own.fp32_precision == "tf32")
