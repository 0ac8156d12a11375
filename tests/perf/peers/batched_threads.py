import asyncio
import contextlib

import batched


@contextlib.asynccontextmanager
async def make(run, *, max_batch_size, batch_timeout_ms):
    decorate = batched.dynamically(batch_size=max_batch_size, timeout_ms=batch_timeout_ms)
    processor = decorate(run)
    yield Batched(processor)
    await asyncio.to_thread(processor.shutdown)


class Batched:
    def __init__(self, processor):
        self.add_request = processor.acall
