"""The example service, over real HTTP on this machine."""

import asyncio
import importlib.util
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from batching import DynamicBatcher, FaultTolerance, RealClock, load_model
from workloads import TraceRecorder, load

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "service.py"
PATIENCE_S = 60


@pytest.fixture(scope="module")
def service():
    spec = importlib.util.spec_from_file_location("service", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def running(app):
    """Serve on a free port; yields the address."""
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came to that"
        time.sleep(0.002)


class Gate:
    """A model that doubles its inputs and returns from a batch only while the gate is open."""

    def __init__(self):
        self.opened = threading.Event()

    def __call__(self, payloads):
        assert self.opened.wait(PATIENCE_S)
        if any(payload[0] < 0 for payload in payloads):
            raise ValueError("negative\nin two lines")
        return [2 * payload for payload in payloads]


def body(value):
    return [float(value)] * 1024


async def post(client, value, **headers):
    return await client.post("/predict", json=body(value), headers=headers)


def talk(service, conversation, **options):
    """Run `conversation(client, batcher, gate)` against a service whose gate is shut at first."""
    gate = Gate()
    batcher = DynamicBatcher(gate, batch_timeout_ms=0, **options)

    async def main(address):
        async with httpx.AsyncClient(
            base_url=address, timeout=PATIENCE_S, trust_env=False
        ) as client:
            try:
                await conversation(client, batcher, gate)
            finally:
                gate.opened.set()

    with running(service.make_app(batcher)) as address:
        asyncio.run(main(address))


async def waiting(batcher, in_flight, queue_depth):
    """Until that many requests run and wait."""

    def there():
        counts = batcher.statistics()
        return (counts.in_flight, counts.queue_depth) == (in_flight, queue_depth)

    await asyncio.to_thread(until, there)


def samples(text):
    return {
        (
            sample.name,
            *(v for k, v in sorted(sample.labels.items()) if k != "batcher"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_that_come_while_the_model_runs_share_the_next_batch(service):
    async def conversation(client, batcher, gate):
        sizes = []
        batcher.add_observer(lambda record, _: sizes.append(record.size))
        first = asyncio.create_task(post(client, 0))
        await waiting(batcher, 1, 0)
        others = [asyncio.create_task(post(client, i)) for i in range(1, 9)]
        await waiting(batcher, 1, 8)
        gate.opened.set()
        answers = await asyncio.gather(first, *others)
        assert [answer.status_code for answer in answers] == [200] * 9
        assert [answer.json() for answer in answers] == [body(2 * i) for i in range(9)]
        # A batch is counted just after its results are handed over.
        await asyncio.to_thread(until, lambda: len(sizes) == 2)
        response = await client.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain; version=")
        found = samples(response.text)
        assert found["dynbatch_batch_size_requests_sum",] == 9
        assert found["dynbatch_batch_size_requests_bucket", "1.0"] == 1
        assert found["dynbatch_batch_size_requests_bucket", "8.0"] == 2
        assert found["dynbatch_requests_total", "ok"] == 9
        assert found["dynbatch_request_wait_seconds_count",] == 9
        assert found["dynbatch_ready",] == 1

    talk(service, conversation, max_batch_size=8)


def test_a_full_queue_is_a_503_that_says_when_to_come_back(service):
    async def conversation(client, batcher, gate):
        running_one = asyncio.create_task(post(client, 1))
        await waiting(batcher, 1, 0)
        waiting_two = [asyncio.create_task(post(client, i)) for i in (2, 3)]
        await waiting(batcher, 1, 2)
        refused = await post(client, 4)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json() == {"error": "refused: 2 requests wait already"}
        gate.opened.set()
        for answer in await asyncio.gather(running_one, *waiting_two):
            assert answer.status_code == 200
        found = samples((await client.get("/metrics")).text)
        assert found["dynbatch_requests_total", "rejected"] == 1

    talk(service, conversation, max_queue_size=2)


def test_a_request_whose_deadline_passes_while_it_waits_is_a_504(service):
    async def conversation(client, batcher, gate):
        running_one = asyncio.create_task(post(client, 1))
        await waiting(batcher, 1, 0)
        hasty = asyncio.create_task(post(client, 2, **{"X-Deadline-Ms": "1"}))
        patient = asyncio.create_task(post(client, 3, **{"X-Deadline-Ms": "1e6"}))
        await waiting(batcher, 1, 2)
        await asyncio.sleep(0.005)  # the millisecond passes
        gate.opened.set()
        assert (await hasty).status_code == 504
        assert (await hasty).json() == {"error": "its deadline passed while it waited"}
        assert (await running_one).status_code == (await patient).status_code == 200

    talk(service, conversation)


def test_a_model_that_raises_is_a_500_for_the_culprit_alone(service, caplog):
    async def conversation(client, batcher, gate):
        first = asyncio.create_task(post(client, 1))
        await waiting(batcher, 1, 0)
        others = [asyncio.create_task(post(client, i)) for i in (2, -3, 4)]
        await waiting(batcher, 1, 3)
        gate.opened.set()
        answers = await asyncio.gather(first, *others)
        assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
        assert answers[2].text == '{"error":"the model failed on this request"}'

    talk(service, conversation)
    assert "negative" in caplog.text


def test_a_service_whose_model_hangs_is_not_ready_and_says_503(service):
    async def conversation(client, batcher, gate):
        assert (await client.get("/ready")).status_code == 200
        hung = await post(client, 1)
        assert hung.status_code == 504
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()) == (503, {"ready": False})
        refused = await post(client, 2)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        gate.opened.set()
        await asyncio.to_thread(until, lambda: batcher.ready)
        assert (await client.get("/ready")).status_code == 200

    talk(service, conversation, faults=FaultTolerance(execute_timeout_ms=20))


def test_what_cannot_be_served_is_refused_in_one_line_and_disturbs_no_batch(service):
    async def conversation(client, batcher, gate):
        bad = [b"", b"{", b"[1, 2]", b'["a"]', b"null", b"[" * 5000, b"\xff", b"[1e999]", b"7"]
        bad += [b"[" + b", ".join([item] * 1024) + b"]" for item in (b"NaN", b"1e39", b"[1]")]
        bad += [b"[" + b", ".join([b"9" * 400] * 1024) + b"]"]
        for content in bad:
            answer = await client.post("/predict", content=content)
            assert answer.status_code == 400
            assert answer.json() == {"error": "the body must be a JSON list of 1024 finite numbers"}
        for deadline in ("soon", "0", "-1", "nan", "inf", ""):
            answer = await post(client, 1, **{"X-Deadline-Ms": deadline})
            assert answer.status_code == 400
            assert "must be a number of milliseconds > 0" in answer.json()["error"]
        assert (await client.get("/predict")).status_code == 405
        assert batcher.statistics().submitted == 0
        gate.opened.set()
        overflowing = await post(client, 3e38)
        assert (overflowing.status_code, list(overflowing.json())) == (422, ["error"])

    talk(service, conversation)


def test_what_comes_over_http_is_what_the_model_computes_and_is_recorded(service, tmp_path):
    model = load_model("mlp", clock=RealClock())
    batcher = DynamicBatcher(model, device="cpu", max_batch_size=8, warm_up_budget_s=5)
    recorder = TraceRecorder(tmp_path / "live.rec")
    inputs = np.random.default_rng(0).standard_normal((24, 1024), dtype=np.float32)

    async def main(address):
        async with httpx.AsyncClient(
            base_url=address, timeout=PATIENCE_S, trust_env=False
        ) as client:
            assert (await client.get("/ready")).status_code == 200
            answers = await asyncio.gather(
                *(client.post("/predict", json=row.tolist()) for row in inputs)
            )
        return [answer.json() for answer in answers]

    with running(service.make_app(batcher, recorder)) as address:
        served = torch.tensor(asyncio.run(main(address)))
    alone = model.run(torch.from_numpy(inputs))
    torch.testing.assert_close(served, alone, rtol=1e-4, atol=1e-5)
    assert batcher.statistics().ok == 24
    assert not batcher.ready
    recording = load(recorder.path)
    assert (len(recording.trace), recording.notes) == (24, ())


def test_without_a_batcher_it_makes_its_own(service, monkeypatch, tmp_path):
    monkeypatch.setenv(service.RECORD_TO, str(tmp_path / "arrivals-{pid}.rec"))
    app = service.make_app()
    app.state.recorder.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".rec"]
    assert isinstance(app.state.batcher, DynamicBatcher)
    assert not app.state.batcher.ready
