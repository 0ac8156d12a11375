"""Ray Serve: a deployment with `@serve.batch`.

Facts, as of Ray 2.60.0:

- Delay, and what happens while a batch runs: ray/serve/batching.py, _BatchQueue.wait_for_batch and
  _process_batches.
- max_ongoing_requests (5 by default) and max_queued_requests:
  docs.ray.io/en/latest/serve/api/doc/ray.serve.deployment_decorator.html.
- docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html.

`make check-exports` runs what this says against the package itself.
"""

from math import ceil

from bench.export.contract import (
    Rendered,
    Target,
    at_least_one,
    one_kind,
    seconds,
)
from bench.export.snippets import LOAD, filled
from bench.settings import BatcherSettings, Settings

_INT64 = 2**63 - 1

_TEXT = """\
import asyncio

from ray import serve

$load


@serve.deployment(
    num_replicas=$replicas,
    max_ongoing_requests=$ongoing,
    max_queued_requests=$queued,
    ray_actor_options={"num_gpus": $gpus},
)
class BatchedModel:
    def __init__(self):
        self.run = load($device)

    @serve.batch(max_batch_size=$size, batch_wait_timeout_s=$timeout_s)
    async def predict(self, payloads):
        # In a thread, so that requests go on arriving while the model runs.
        return await asyncio.to_thread(self.run, payloads)

    async def __call__(self, request):
        return await self.predict(await request.json())


app = BatchedModel.bind()
"""


def render(settings: Settings) -> Rendered:
    """A deployment to put your model into.

    Raises:
        InputError: the devices are of several kinds, or a value is larger than its field.
    """
    batcher = settings.batcher
    groups = one_kind(settings, "Ray Serve")
    replicas = sum(group.count for group in groups)
    kind = groups[0].kind
    waiting, queued = _places(batcher, replicas)
    body = filled(
        _TEXT,
        load=LOAD,
        replicas=replicas,
        ongoing=batcher.max_batch_size + waiting,
        queued=queued,
        gpus=1 if kind == "cuda" else 0,
        # Ray shows each replica its own GPU as the first.
        device='"cuda:0"' if kind == "cuda" else f'"{kind}"',
        size=batcher.max_batch_size,
        timeout_s=seconds(batcher.batch_timeout_ms),
    )
    remarks = []
    if batcher.batch_timeout_ms == 0 and batcher.max_batch_size > 1:
        remarks.append(
            "batch_timeout_ms=0 makes Ray Serve close a batch with what waits at that instant, "
            "often one request, even while another batch runs: a timeout of about one batch's "
            "execution time may come nearer to what was measured"
        )
    if len(groups) < replicas and kind == "cuda":
        remarks.append(
            f"{replicas} replicas were measured on {len(groups)} GPU(s), but num_gpus=1 gives each "
            "one of its own: a fraction lets them share"
        )
    return Rendered(body, tuple(remarks))


def _places(batcher: BatcherSettings, replicas: int) -> tuple[int, int]:
    """Requests that may wait in each replica, and in each caller's queue (-1: no limit).

    A replica holds the batch that runs and one that forms; what is beyond waits with the callers.
    """
    forming = batcher.max_batch_size
    if batcher.max_queue_size is None:
        return forming, -1
    inside = min(forming, ceil(batcher.max_queue_size / replicas))
    beyond = max(1, batcher.max_queue_size - inside * replicas)
    return inside, at_least_one(beyond, "max_queue_size", _INT64)


TARGET = Target(
    name="ray-serve",
    server="Ray Serve",
    carries=frozenset({"max_batch_size", "batch_timeout_ms", "max_queue_size", "replicas"}),
    semantics=(
        "batch_wait_timeout_s counts from when the batching loop takes the first request of the "
        "batch, not from that request's arrival.",
        "A batch is closed when it is full or its timeout is over, even while the replica is "
        "busy; it then waits for its turn without growing. In dynbatch it goes on growing until a "
        "worker is free, so under load batches here are smaller than the measured ones.",
        "max_ongoing_requests bounds what one replica holds, and is 5 unless set: no batch could "
        "be larger. Here it is one batch that runs and one that forms.",
        "max_queued_requests is for each caller (proxy or handle), not for the deployment: with n "
        "callers n times as many wait. One more gets a BackPressureError, over HTTP status 503. "
        "It cannot be 0.",
        "Each replica has a queue and batches of its own; in dynbatch replicas share one queue.",
        "When a batch raises, all of its requests fail; dynbatch finds the culprit.",
    ),
    render=render,
)
