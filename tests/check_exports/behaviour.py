"""What the exports say of each server is so: its own batching loop is run and watched.

In real time, so each claim has a wide margin: delays of hundreds of milliseconds, told apart by
half of one.
"""

import asyncio
import queue
import time
from types import SimpleNamespace

import pytest

from tests.check_exports.torchserve import torchserve

DELAY_S = 0.4
BUSY_S = 1.0


async def watch(add_request, arrival_s):
    """Send at these times; returns how long each took, or the error it got."""

    async def one(at_s):
        await asyncio.sleep(at_s)
        started_s = time.perf_counter()
        try:
            await add_request(at_s)
        except Exception as error:  # noqa: BLE001 - whatever a server raises
            return error
        return time.perf_counter() - started_s

    return await asyncio.gather(*map(one, arrival_s))


class Model:
    """Takes its time in a thread, and remembers its batches."""

    def __init__(self, seconds):
        self.seconds, self.batches = seconds, []

    def __call__(self, payloads):
        self.batches.append(list(payloads))
        time.sleep(self.seconds)
        return list(payloads)


@pytest.fixture
def ray_serve():
    """`@serve.batch` on a function, outside of a cluster."""
    serve = pytest.importorskip("ray.serve")
    from ray.serve._private.common import DeploymentID, ReplicaID
    from ray.serve._private.config import DeploymentConfig
    from ray.serve.context import _set_internal_replica_context
    from ray.serve.schema import ReplicaRank

    _set_internal_replica_context(
        replica_id=ReplicaID("none", deployment_id=DeploymentID(name="none")),
        servable_object=None,
        _deployment_config=DeploymentConfig(max_ongoing_requests=1000),
        rank=ReplicaRank(rank=0, node_rank=0, local_rank=0),
        world_size=1,
    )

    def batched(model, size, timeout_s):
        @serve.batch(max_batch_size=size, batch_wait_timeout_s=timeout_s)
        async def predict(payloads):
            return await asyncio.to_thread(model, payloads)

        return predict

    return batched


class TestRayServe:
    def test_closes_batches_while_the_replica_is_busy(self, ray_serve):
        model = Model(BUSY_S)
        arrival_s = [0.0, 0.1, 0.2, 0.3, 0.4]
        asyncio.run(watch(ray_serve(model, 32, 0.05), arrival_s))
        # A batch that went on growing would be [0.0] and then the four others together.
        assert len(model.batches) > 2

    def test_without_a_timeout_hardly_batches(self, ray_serve):
        model = Model(0.2)
        asyncio.run(watch(ray_serve(model, 32, 0.0), [i * 0.02 for i in range(10)]))
        assert max(map(len, model.batches)) <= 2

    def test_counts_the_delay_from_the_first_request_of_the_batch(self, ray_serve):
        [took_s] = asyncio.run(watch(ray_serve(Model(0.0), 32, DELAY_S), [0.3]))
        assert DELAY_S - 0.01 <= took_s < 1.5 * DELAY_S


class TestLitServe:
    @pytest.fixture
    def collate(self):
        base = pytest.importorskip("litserve.loops.base")
        api = SimpleNamespace(
            batch_timeout=DELAY_S, max_batch_size=4, request_timeout=False, stream=False
        )
        loop = SimpleNamespace(put_response=lambda **_: None)

        def take(waiting, since_s=0.0, **changes):
            for name, value in changes.items():
                setattr(api, name, value)
            requests = queue.Queue()
            for i in range(waiting):
                requests.put((0, i, time.monotonic() - since_s, i))
            started_s = time.perf_counter()
            batch, late = base.collate_requests(loop, api, requests, None)
            return len(batch), len(late), time.perf_counter() - started_s

        return take

    def test_holds_what_waited_behind_a_busy_worker_for_one_more_delay(self, collate):
        size, _, took_s = collate(2, since_s=10 * DELAY_S)
        assert size == 2
        assert took_s >= DELAY_S - 0.01

    def test_goes_at_once_when_full(self, collate):
        size, _, took_s = collate(5)
        assert size == 4
        assert took_s < DELAY_S / 2

    def test_opens_its_window_though_nothing_waits(self, collate):
        size, _, took_s = collate(0)
        assert size == 0
        assert took_s >= DELAY_S - 0.01

    def test_without_a_delay_an_idle_worker_does_not_pause(self, collate):
        assert collate(0, batch_timeout=0)[2] < 0.01

    def test_times_a_request_out_when_it_is_taken(self, collate):
        assert collate(1, since_s=2.0, request_timeout=1.0)[:2] == (0, 1)


class TestBentoML:
    @pytest.fixture
    def dispatcher(self):
        module = pytest.importorskip("bentoml._internal.marshal.dispatcher")

        def make(model, size, latency_ms):
            def give_up():
                raise RuntimeError("given up")

            dispatcher = module.CorkDispatcher(
                max_latency_in_ms=latency_ms,
                max_batch_size=size,
                fallback=give_up,
                get_batch_size=lambda _: 1,
            )
            return dispatcher(model)

        return make

    def test_gives_requests_up_where_a_batch_timeout_is_taken_for_its_bound(self, dispatcher):
        async def send(latency_ms):
            took = await watch(
                dispatcher(Model(0.02), 32, latency_ms), [i * 0.002 for i in range(300)]
            )
            return sum(isinstance(end, Exception) for end in took) / len(took)

        assert asyncio.run(send(10)) > 0.5
        assert asyncio.run(send(60_000)) == 0.0

    def test_grows_a_batch_while_the_one_before_it_runs(self, dispatcher):
        model = Model(0.0)
        predict = dispatcher(model, 32, 60_000)

        async def send():
            await watch(predict, [i * 0.01 for i in range(40)])  # the training
            model.batches.clear()
            model.seconds = BUSY_S
            await watch(predict, [0.0, 0.1, 0.2, 0.3, 0.4])

        asyncio.run(send())
        assert sorted(map(len, model.batches)) == [1, 4]


class TestTorchServe:
    def test_without_a_delay_makes_no_batch_of_more_than_two(self, exported, tmp_path):
        path = exported("torchserve", "model-config.yaml", {"device": "cpu"}, max_batch_size=16)
        found = torchserve(path, tmp_path)
        assert (found["batch"], found["batchWithoutDelay"]) == ("16", "2")
