import contextlib

from batched import aio


@contextlib.asynccontextmanager
async def make(run, *, max_batch_size, batch_timeout_ms):
    yield Batched(aio.dynamically(run, batch_size=max_batch_size, timeout_ms=batch_timeout_ms))


class Batched:
    def __init__(self, processor):
        self.add_request = processor.__call__
