from batchlet import AsyncBatcher, BatchPolicy, threaded


def make(run, *, max_batch_size, batch_timeout_ms):
    return Batchlet(
        threaded(run),
        policy=BatchPolicy(max_items=max_batch_size),
        max_wait_ms=batch_timeout_ms,
        max_pending_items=1_000_000,
    )


class Batchlet(AsyncBatcher):
    def __init__(self, processor, **options):
        super().__init__(processor, **options)
        self.add_request = self.submit
