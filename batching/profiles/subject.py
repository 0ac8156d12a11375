"""What a profile is of: times are those of one model, on one device, in one number format."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batching.execution.devices import cpu_name, device_name
from batching.models.contract import Placement, is_channels_last
from batching.versions import version_of

_PACKAGES = ("dynbatch", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what it ran on.

    Attributes:
        model: its name, as reports show it.
        device: "cpu", "cuda:<index>", or "synthetic" for a model that computes nothing.
        device_name: the processor's or the GPU's own name; empty for a synthetic model.
        dtype: "fp32", "fp16" or "bf16"; empty for a model that does not use torch.
        engine: what executes it: "eager", "cudagraph", "compile", or "python" for a model that
            does not use torch.
        captured_batch_sizes: what the engine cudagraph was asked to capture; empty for the usual.
        channels_last: whether images are laid out with their channels last.
        torch_threads: CPU threads of one torch operation; None for what does not depend on it.
        versions: package name -> version, "python" included.
    """

    model: str
    device: str
    device_name: str = ""
    dtype: str = ""
    engine: str = "python"
    torch_threads: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    captured_batch_sizes: tuple[int, ...] = ()
    channels_last: bool = False

    def differences(self, other: "Subject") -> "Differences":
        """What is different about `other`, as sentences "model is a, not b", a being ours."""
        decisive = [
            ("model", self.model, other.model),
            ("device", _kind(self.device), _kind(other.device)),
            ("dtype", self.dtype, other.dtype),
            ("engine", self.engine, other.engine),
            ("layout", _layout(self), _layout(other)),
        ]
        if self.engine == other.engine:
            decisive.append(("list of captured batch sizes", _captured(self), _captured(other)))
        if _kind(self.device) == _kind(other.device):
            decisive.insert(2, ("device name", self.device_name, other.device_name))
        packages = sorted({*self.versions, *other.versions})
        remarks = [
            ("torch threads", self.torch_threads, other.torch_threads),
            *((name, self.versions.get(name), other.versions.get(name)) for name in packages),
        ]
        return Differences(_unequal(decisive), _unequal(remarks))


@dataclass(frozen=True, slots=True)
class Differences:
    """How two subjects differ.

    Attributes:
        decisive: what makes the times of one worthless for the other.
        remarks: what may shift them: versions, the number of threads.
    """

    decisive: tuple[str, ...]
    remarks: tuple[str, ...]


def subject_of(model: Any, placement: Placement) -> Subject:
    """The subject that a profile of `model` measured here and now would have."""
    synthetic = hasattr(model, "batch_s")
    versions = {"python": platform.python_version()}
    own = getattr(model, "packages", ())
    for package in (*(_PACKAGES if model.uses_torch else ("dynbatch",)), *own):
        found = version_of(package)
        if found is not None:
            versions[package] = found
    if not model.uses_torch:
        return Subject(
            model=model.name,
            device="synthetic" if synthetic else "cpu",
            device_name="" if synthetic else cpu_name(),
            versions=versions,
        )
    on_gpu = placement.is_cuda
    return Subject(
        model=model.name,
        device=placement.device,
        device_name=device_name(placement),
        dtype=placement.dtype,
        engine=placement.engine,
        captured_batch_sizes=placement.captured_sizes,
        channels_last=is_channels_last(model, placement),
        torch_threads=None if on_gpu else _torch_threads(),
        versions=versions,
    )


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def _layout(subject: Subject) -> str:
    return "channels last" if subject.channels_last else "channels first"


def _captured(subject: Subject) -> str:
    return ",".join(map(str, subject.captured_batch_sizes)) or "the usual"


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _unequal(pairs: list[tuple[str, Any, Any]]) -> tuple[str, ...]:
    return tuple(
        f"{what} is {'none' if ours in {None, ''} else ours}, "
        f"not {'none' if theirs in {None, ''} else theirs}"
        for what, ours, theirs in pairs
        if ours != theirs
    )
