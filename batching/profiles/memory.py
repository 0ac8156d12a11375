"""How much memory a batch size took, where that can be told cheaply."""

import sys

from batching.models.contract import Placement


class MemoryGauge:
    """Reads the peak of memory, in bytes.

    On a GPU it is that of torch's allocator since `reset`; on the CPU that of the whole process
    since it began, which is why only growing sizes tell anything.

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

            return torch.cuda.max_memory_allocated(self._placement.device)
        return _process_peak_bytes()


def _process_peak_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): kilobytes on Linux
