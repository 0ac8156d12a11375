"""How much memory a batch size took, where that can be told cheaply."""

import sys

from batching.models.contract import Placement


class MemoryGauge:
    """Reads the peak of memory, in bytes.

    On a GPU it is that of torch's allocator since `reset`, with all that pools of captured graphs
    hold: a replay asks the allocator for nothing, so that what it computes in is not in its peak.
    On the CPU it is that of the whole process since it began, which is why only growing sizes tell
    anything.

    Args:
        placement: where a torch model runs; None for a model that uses none.
    """

    def __init__(self, placement: Placement | None) -> None:
        self._placement = placement

    def reset(self) -> None:
        """Forget the peak so far, where it can be forgotten."""
        if self._placement is not None and self._placement.is_cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self._placement.device)

    def peak_bytes(self) -> int | None:
        """The peak; None if it cannot be told here."""
        if self._placement is None:
            return None
        if self._placement.is_cuda:
            import torch

            device = torch.device(self._placement.device)
            return torch.cuda.max_memory_allocated(device) + _held_by_graphs(device.index)
        return _process_peak_bytes()


def _held_by_graphs(index: int) -> int:
    """What pools other than torch's own, (0, 0), keep beside the tensors that are in use there."""
    import torch

    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        if segment["device"] == index and segment["segment_pool_id"] != (0, 0)
    )


def _process_peak_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): kilobytes on Linux
