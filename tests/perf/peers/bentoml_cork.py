import contextlib

from bentoml._internal.marshal.dispatcher import CorkDispatcher


@contextlib.asynccontextmanager
async def make(run, *, max_batch_size, batch_timeout_ms):
    # No batch timeout to set: it trains an estimate on its first batches and waits by that.
    dispatcher = CorkDispatcher(
        max_latency_in_ms=60_000,
        max_batch_size=max_batch_size,
        fallback=Overloaded,
        get_batch_size=lambda payload: 1,
    )
    yield Batched(dispatcher(run))
    dispatcher.shutdown()


class Overloaded:
    """What a caller gets in place of a result when its request is given up."""


class Batched:
    def __init__(self, add_request):
        self.add_request = add_request
