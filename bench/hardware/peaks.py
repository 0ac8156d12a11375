"""Published peaks of accelerators: what achieved FLOP/s are a share of.

All figures are dense (without 2:4 sparsity, by which datasheets often double them), at boost clock,
with tensor cores where the format has them. fp32 is that of the CUDA cores; tf32 is what the tensor
cores make of fp32 inputs where torch is allowed to round them to 10 bits of mantissa.
"""

import re
from dataclasses import dataclass

_TERA = 1e12


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip's peaks.

    Attributes:
        pattern: matches the names that its driver gives it.
        tflops: format -> 10^12 floating-point operations a second; a format it lacks is left out.
        source: where they were published.
    """

    pattern: str
    tflops: dict[str, float]
    source: str


def _halves(half: float, **more: float) -> dict[str, float]:
    return {"fp16": half, "bf16": half, **more}


# The first that matches counts, so the special comes before the general.
CHIPS = (
    Chip(r"B200\b", _halves(2250, tf32=1100, fp32=75), "NVIDIA HGX B200 specifications"),
    Chip(r"H200 NVL", _halves(835.5, tf32=417.5, fp32=60), "NVIDIA H200 datasheet"),
    Chip(r"H200\b", _halves(989.4, tf32=494.7, fp32=66.9), "NVIDIA H200 datasheet"),
    Chip(r"H100 NVL", _halves(835.5, tf32=417.5, fp32=60), "NVIDIA H100 datasheet"),
    Chip(r"H100 PCIe", _halves(756, tf32=378, fp32=51), "NVIDIA H100 datasheet"),
    Chip(r"H100.*HBM3", _halves(989.4, tf32=494.7, fp32=66.9), "NVIDIA H100 datasheet"),
    Chip(r"A100\b", _halves(312, tf32=156, fp32=19.5), "NVIDIA A100 datasheet"),
    Chip(r"L40S\b", _halves(362.05, tf32=183, fp32=91.6), "NVIDIA L40S datasheet"),
    Chip(r"L4\b", _halves(121, tf32=60, fp32=30.3), "NVIDIA L4 datasheet"),
    Chip(r"T4\b", {"fp16": 65, "fp32": 8.1}, "NVIDIA T4 datasheet"),
    Chip(r"V100S\b", {"fp16": 130, "fp32": 16.4}, "NVIDIA V100 datasheet"),
    Chip(r"V100.*SXM", {"fp16": 125, "fp32": 15.7}, "NVIDIA V100 datasheet"),
    Chip(r"V100.*PCIE", {"fp16": 112, "fp32": 14}, "NVIDIA V100 datasheet"),
)


@dataclass(frozen=True, slots=True)
class Peak:
    """What a chip could do in one format.

    Attributes:
        flops_per_s: floating-point operations a second.
        format: fp16, bf16, tf32 or fp32.
        source: where it was published.
    """

    flops_per_s: float
    format: str
    source: str


def peak_of(device_name: str, dtype: str, *, tf32: bool = False) -> Peak | None:
    """The published dense peak of a chip; None if it is not known.

    Args:
        device_name: as its driver gives it: "NVIDIA H100 80GB HBM3".
        dtype: "fp32", "fp16" or "bf16".
        tf32: fp32 work is rounded to tf32 on the way; a chip without tf32 ignores that.
    """
    if re.search(r"\bMIG\b", device_name):
        return None  # a slice of a chip: its share of the peak is published nowhere
    for chip in CHIPS:
        if re.search(rf"\b{chip.pattern}", device_name, re.IGNORECASE):
            wanted = "tf32" if tf32 and dtype == "fp32" and "tf32" in chip.tflops else dtype
            tflops = chip.tflops.get(wanted)
            return None if tflops is None else Peak(tflops * _TERA, wanted, chip.source)
    return None
