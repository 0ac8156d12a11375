"""A model behind HTTP: `uvicorn --app-dir docs/examples --factory service:make_app`.

docs/service.md explains it.
"""

import json
import logging
import math
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext

import torch
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batching import (
    BatcherClosedError,
    BatchingError,
    DynamicBatcher,
    ExecuteTimeoutError,
    QueueFullError,
    RealClock,
    RequestCancelledError,
    RequestExpiredError,
    load_model,
)
from batching.prometheus import BatcherCollector
from workloads import RecordingMiddleware, TraceRecorder

FEATURES = 1024
DEADLINE_HEADER = "X-Deadline-Ms"
RECORD_TO = "RECORD_TO"  # the environment variable that names the file arrivals are recorded in
LONGEST_RETRY_AFTER_S = 60

log = logging.getLogger("service")


def make_app(
    batcher: DynamicBatcher | None = None, recorder: TraceRecorder | None = None
) -> Starlette:
    """The application; the batcher, `mlp` by default, and the recorder start and stop with it."""
    if batcher is None:
        batcher = DynamicBatcher(
            load_model("mlp", clock=RealClock()),
            max_batch_size=32,
            batch_timeout_ms=2,
            max_queue_size=512,
            deadline_ms=1000,
        )
    if recorder is None and RECORD_TO in os.environ:
        recorder = TraceRecorder(os.environ[RECORD_TO])
    recording = []
    if recorder is not None:
        recording = [Middleware(RecordingMiddleware, recorder=recorder, paths=["/predict"])]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with recorder or nullcontext():
            async with batcher:
                yield

    app = Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/ready", ready),
            Route("/metrics", metrics),
        ],
        middleware=recording,
        lifespan=lifespan,
        exception_handlers={BatchingError: answer_error, HTTPException: answer_error},
    )
    app.state.batcher = batcher
    app.state.recorder = recorder
    app.state.registry = CollectorRegistry()
    app.state.registry.register(BatcherCollector(batcher))
    return app


async def predict(request: Request) -> Response:
    """Run one list of `FEATURES` numbers through the model; the answer is a list too."""
    features = parse_features(await request.body())
    deadline_ms = parse_deadline_ms(request.headers.get(DEADLINE_HEADER))
    scores = await request.app.state.batcher.add_request(features, deadline_ms=deadline_ms)
    if not scores.isfinite().all():  # JSON has no infinity
        raise HTTPException(422, "the model's output for this input is not finite")
    return JSONResponse(scores.tolist())


async def ready(request: Request) -> Response:
    """200 while requests are served, else 503: what a load balancer asks."""
    is_ready = request.app.state.batcher.ready
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)


async def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    text = generate_latest(request.app.state.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def parse_features(body: bytes) -> torch.Tensor:
    """The input, `[FEATURES]`. What is refused here cannot spoil a batch."""
    try:
        features = torch.tensor(json.loads(body), dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        features = torch.empty(0)
    if features.shape != (FEATURES,) or not features.isfinite().all():
        raise HTTPException(400, f"the body must be a JSON list of {FEATURES} finite numbers")
    return features


def parse_deadline_ms(header: str | None) -> float | None:
    """How long the request may wait; None leaves it to the batcher."""
    if header is None:
        return None
    try:
        deadline_ms = float(header)
    except ValueError:
        deadline_ms = math.nan
    if not 0 < deadline_ms < math.inf:
        raise HTTPException(
            400, f"{DEADLINE_HEADER} must be a number of milliseconds > 0, but got {header!r}"
        )
    return deadline_ms


async def answer_error(_: Request, error: Exception) -> Response:
    """Whatever ends a request without a result, as one line of JSON."""
    match error:
        case HTTPException():
            return refusal(error.status_code, error.detail, error.headers)
        case QueueFullError():
            # 0 if no rate is known yet, infinite if no replica answers.
            seconds = math.ceil(min(max(error.retry_after_s, 1), LONGEST_RETRY_AFTER_S))
            return refusal(503, str(error), {"Retry-After": str(seconds)})
        case BatcherClosedError() | RequestCancelledError():
            return refusal(503, "shutting down")
        case RequestExpiredError() | ExecuteTimeoutError():
            return refusal(504, str(error))
        case _:
            # What the model raised is for the log: a client has no use for it.
            log.error("%s", error, exc_info=error.__cause__)
            return refusal(500, "the model failed on this request")


def refusal(status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a result."""
    return JSONResponse({"error": why}, status_code=status, headers=headers)
