from async_batcher.batcher import AsyncBatcher


def make(run, *, max_batch_size, batch_timeout_ms):
    return Batcher(run, max_batch_size, batch_timeout_ms / 1e3)


class Batcher(AsyncBatcher):
    def __init__(self, run, max_batch_size, max_queue_time_s):
        super().__init__(max_batch_size=max_batch_size, max_queue_time=max_queue_time_s)
        self.run_model = run
        self.add_request = self.process

    def process_batch(self, batch):
        return self.run_model(batch)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.stop()
