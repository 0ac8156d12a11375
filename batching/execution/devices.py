"""Which device a model runs on, and how many CPU threads torch may take for it."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from batching.errors import ConfigError, DeviceError
from batching.models.contract import Placement

DTYPES = ("fp32", "fp16", "bf16")
ENGINES = ("eager", "cudagraph", "compile")


def resolve_placement(
    device: str = "auto",
    dtype: str = "fp32",
    *,
    engine: str = "eager",
    captured_sizes: Sequence[int] = (),
    channels_last: bool | None = None,
) -> Placement:
    """The device that `device` asks for, and what is to happen there.

    Args:
        device: "auto" (the first GPU, or the CPU where there is none), "cpu", "cuda[:<index>]".
        dtype: one of `DTYPES`.
        engine: one of `ENGINES`.
        captured_sizes: for the engine cudagraph; see `Placement`.
        channels_last: see `Placement`.

    Raises:
        DeviceError: no such device here.
        ConfigError: no such dtype or engine, or the engine cannot run there.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, but got {dtype!r}")
    if engine not in ENGINES:
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, but got {engine!r}")
    sizes = tuple(sorted(set(captured_sizes)))
    if sizes and engine != "cudagraph":
        raise ConfigError(f"captured_batch_sizes go with engine cudagraph, but got engine {engine}")
    if sizes and sizes[0] < 1:
        raise ConfigError(f"captured_batch_sizes must be >= 1, but got {sizes[0]}")
    placement = replace(
        _place(device),
        dtype=dtype,
        engine=engine,
        captured_sizes=sizes,
        channels_last=channels_last,
    )
    if engine == "cudagraph" and not placement.is_cuda:
        raise ConfigError(
            f"engine cudagraph must have a CUDA device, but got {device!r}"
            + (", and there is none here" if device == "auto" else "")
        )
    return placement


def _place(device: str) -> Placement:
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise DeviceError(f"device must be auto, cpu, cuda or cuda:<index>, but got {device!r}")
    if device == "cpu":
        return Placement("cpu")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto" and count == 0:
        return Placement("cpu")
    index = int(match.group(1) or 0)
    if index >= count:
        have = f"it has {count} CUDA device(s)" if count else "it has no CUDA device"
        raise DeviceError(f"device must exist on this machine, but got {device!r} and {have}")
    return Placement(f"cuda:{index}")


def resolve_placements(device: str = "auto", dtype: str = "fp32", **how: Any) -> list[Placement]:
    """The devices that `device` asks for, one or several with commas between, in their order.

    `how` is what else `resolve_placement` takes.

    Raises:
        DeviceError: one of them is not here, or is named twice.
        ConfigError: no such dtype.
    """
    placements = [resolve_placement(part.strip(), dtype, **how) for part in device.split(",")]
    names = [placement.device for placement in placements]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DeviceError(
            f"device must name each device once, but got {device!r}, which has {twice} twice: "
            "replicas is how several workers share one"
        )
    return placements


def require_one_kind(placements: Sequence[Placement]) -> None:
    """Check that what is measured on one of these devices holds for all of them.

    Raises:
        DeviceError: they are different devices.
    """
    kinds = {placement.device: device_name(placement) for placement in placements}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{device} ({kind})" for device, kind in kinds.items())
        raise DeviceError(f"devices must be of one kind, but got {listed}")


def device_name(placement: Placement) -> str:
    """The device's own name for itself."""
    if placement.is_cuda:
        return gpu_name(int(placement.device.partition(":")[2]))
    return cpu_name()


def cpu_name() -> str:
    """The processor's own name for itself, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_name(index: int) -> str:
    """The name of a CUDA device, as its driver gives it."""
    import torch

    return str(torch.cuda.get_device_name(index))


def usable_cores() -> int:
    """CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def reserve_batcher_core() -> int:
    """Leave one core to the batcher and its callers; torch gets the others, at least one.

    Returns:
        The number of threads torch will use for one operation.
    """
    import torch

    threads = max(1, usable_cores() - 1)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return threads


def collate_in_one_thread() -> None:
    """Have torch use one CPU thread an operation: on a GPU the CPU only stacks a batch's inputs.

    That is copying, at the speed of memory, and several threads wait for each other and for the
    cores of batcher and callers: with two, `torch.stack` took 27 us an image of 224 x 224 bytes on
    a busy CPU, with one 11 us. With two batches in flight two workers' threads do it at a time.
    """
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
