from batching import DynamicBatcher


def make(run, *, max_batch_size, batch_timeout_ms):
    return DynamicBatcher(run, max_batch_size=max_batch_size, batch_timeout_ms=batch_timeout_ms)
