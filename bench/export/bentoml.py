"""BentoML: a service with a batchable API.

Facts, as of BentoML 1.4.39:

- When a batch goes, when a request is given up: bentoml/_internal/marshal/dispatcher.py,
  CorkDispatcher.controller, and Optimizer for the estimate.
- The smallest max_batch_size, 2: _bentoml_sdk/method.py, APIMethod.
- What a caller then gets: _bentoml_impl/server/app.py, `fallback` (status 503).
- traffic.max_concurrency, divided over the workers: the same file; status 429 from
  bentoml/_internal/server/http/traffic.py, MaxConcurrencyMiddleware.
- docs.bentoml.com/en/latest/get-started/adaptive-batching.html.

`make check-exports` runs what this says against the package itself.
"""

from bench.errors import InputError
from bench.export.contract import (
    Rendered,
    Target,
    replicas,
    rounded_up,
)
from bench.export.snippets import LOAD, filled, literal
from bench.settings import BatcherSettings, Settings

_INT64 = 2**63 - 1

_TEXT = """\
from typing import Any

import bentoml

$load

DEVICES = $devices


@bentoml.service(workers=$workers$traffic)
class BatchedModel:
    def __init__(self) -> None:
        worker = bentoml.server_context.worker_index or 1
        self.run = load(DEVICES[(worker - 1) % len(DEVICES)])

    @bentoml.api(batchable=True, max_batch_size=$size$latency)
    def predict(self, payloads: list[Any]) -> list[Any]:
        return list(self.run(payloads))
"""


def render(settings: Settings) -> Rendered:
    """A service to put your model into.

    Raises:
        InputError: `device` is none, or the batch size is 1, which BentoML does not take.
    """
    batcher = settings.batcher
    if batcher.max_batch_size < 2:
        raise InputError("BentoML batches from 2 up: max_batch_size must be >= 2, but got 1")
    groups = replicas(settings)
    workers = sum(group.count for group in groups)
    traffic = latency = ""
    if batcher.max_queue_size is not None:
        places = batcher.max_queue_size + workers * batcher.max_batch_size
        traffic = f', traffic={{"max_concurrency": {places}}}'
    limit_ms = _latency_ms(batcher)
    if limit_ms is not None:
        latency = f", max_latency_ms={rounded_up(limit_ms, 'max_latency_ms', _INT64)}"
    body = filled(
        _TEXT,
        load=LOAD,
        devices=literal([group.device for group in groups]),
        workers=workers,
        traffic=traffic,
        size=batcher.max_batch_size,
        latency=latency,
    )
    return Rendered(body, tuple(_remarks(batcher)))


def _latency_ms(batcher: BatcherSettings) -> float | None:
    """The bound on latency that the setting knows of; None leaves BentoML's own, a minute."""
    return batcher.slo_ms if _aims_at_slo(batcher) else batcher.deadline_ms


def _aims_at_slo(batcher: BatcherSettings) -> bool:
    return batcher.policy != "timeout" and batcher.slo_ms is not None


def _remarks(batcher: BatcherSettings) -> list[str]:
    remarks = [
        f"batch_timeout_ms={batcher.batch_timeout_ms:g} is left out: BentoML has no batch timeout, "
        "and as max_latency_ms it would turn away whatever takes longer"
    ]
    if _aims_at_slo(batcher):
        remarks.append(f"max_latency_ms is slo_ms={batcher.slo_ms:g} in whole ms, rounded up")
        if batcher.deadline_ms is not None:
            remarks.append(f"deadline_ms={batcher.deadline_ms:g} is left out beside it")
        return remarks
    if batcher.slo_ms is not None:
        remarks.append(f"slo_ms={batcher.slo_ms:g} is left out: policy timeout does not use it")
    if batcher.deadline_ms is not None:
        remarks.append(
            f"max_latency_ms is deadline_ms={batcher.deadline_ms:g}, but bounds waiting and "
            "execution together, where the deadline is for waiting alone: requests are given up "
            "sooner"
        )
    return remarks


TARGET = Target(
    name="bentoml",
    server="BentoML",
    carries=frozenset(
        {
            "max_batch_size",
            "batch_timeout_ms",
            "max_queue_size",
            "deadline_ms",
            "slo_ms",
            "replicas",
        }
    ),
    semantics=(
        "There is no batch timeout: the dispatcher learns how long a batch of n takes, as a + b*n, "
        "and how long its batches waited of late, and waits by that. Its first batches train it.",
        "max_latency_ms is no timeout either but a bound: a request whose wait and estimated "
        "execution reach it is given up, status 503. The default is 60000.",
        "max_batch_size counts items: each request brings a list of them, and a longer one is "
        "split. It cannot be 1.",
        "A batch goes on growing while the one before it runs, as in dynbatch; the dispatcher "
        "looks once a millisecond.",
        "The dispatcher's queue has no limit. traffic.max_concurrency counts requests that run as "
        "well as those that wait, is divided over the workers, and answers with status 429.",
        "Each worker is a process with a dispatcher of its own; in dynbatch replicas share one "
        "queue. A request is turned away by its own worker's limit while another has room.",
        "When a batch raises, all of its requests fail; dynbatch finds the culprit.",
    ),
    render=render,
)
