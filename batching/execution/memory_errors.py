"""Telling that memory ran out from whatever else a model raises."""

# What the libraries' own errors say, which torch passes on as a RuntimeError or, since 2.8, as an
# AcceleratorError: CUDA where its own allocator was not asked (a graph that is instantiated, a
# kernel that is loaded), cuBLAS and cuDNN for their handles and workspaces, torch for the host.
_SAYINGS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the host, ran out of memory: a smaller batch may do.

    By names and messages: torch need not be imported to recognise its errors. What an error was
    raised from counts too, since a model's own code may say it in its own words.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        if isinstance(cause, RuntimeError) and any(said in str(cause) for said in _SAYINGS):
            return True
        cause = cause.__cause__
    return False
