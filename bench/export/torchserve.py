"""TorchServe: a model-config.yaml.

Facts, as of 0.12.0, the last release:

- Keys: org.pytorch.serve.archive.model.ModelConfig in frontend/model-server.jar.
- Delay: frontend/server/src/main/java/org/pytorch/serve/wlm/Model.java, pollBatch and pollInferJob.
- docs.pytorch.org/serve/batch_inference_with_ts.html, docs.pytorch.org/serve/configuration.html.

`make check-exports` has TorchServe's own class read the file, where there is a JDK.
"""

from bench.export.contract import (
    Rendered,
    Target,
    one_kind,
    rounded_up,
)
from bench.settings import BatcherSettings, Settings

_INT32 = 2**31 - 1


def render(settings: Settings) -> Rendered:
    """The keys that batching needs.

    Raises:
        InputError: the devices are of several kinds, or a value is larger than its field.
    """
    batcher = settings.batcher
    groups = one_kind(settings, "TorchServe")
    workers = sum(group.count for group in groups)
    delay_ms, remarks = _delay(batcher)
    lines = [
        f"minWorkers: {workers}",
        f"maxWorkers: {workers}",
        f"batchSize: {batcher.max_batch_size}",
        f"maxBatchDelay: {delay_ms}",
        f"jobQueueSize: {_queue_size(batcher.max_queue_size)}",
    ]
    if batcher.execute_timeout_ms is not None:
        timeout_s = rounded_up(batcher.execute_timeout_ms / 1e3, "responseTimeout", _INT32)
        lines.append(f"responseTimeout: {timeout_s}")
    lines.append(f"deviceType: {'gpu' if groups[0].kind == 'cuda' else 'cpu'}")
    if groups[0].kind == "cuda":
        lines.append(f"deviceIds: [{', '.join(str(group.index) for group in groups)}]")
    return Rendered("\n".join(lines) + "\n", tuple(remarks))


def _delay(batcher: BatcherSettings) -> tuple[int, list[str]]:
    """The delay in whole ms, and what became of the one that was measured."""
    wanted_ms = batcher.batch_timeout_ms
    if wanted_ms == 0 and batcher.max_batch_size <= 2:
        return 0, []
    delay_ms = rounded_up(wanted_ms, "maxBatchDelay", _INT32)
    if wanted_ms == 0:
        # pollInferJob ends the batch once nothing of the delay is left, which is looked at after
        # every request but the first.
        why = "with maxBatchDelay 0 no batch is larger than 2"
    elif delay_ms != wanted_ms:
        why = "TorchServe takes whole milliseconds"
    else:
        return delay_ms, []
    return delay_ms, [f"batch_timeout_ms={wanted_ms:g} becomes {delay_ms}: {why}"]


def _queue_size(limit: int | None) -> int:
    """No limit is the largest that a Java int holds, because leaving it out means 100."""
    return _INT32 if limit is None else rounded_up(limit, "jobQueueSize", _INT32)


TARGET = Target(
    name="torchserve",
    server="TorchServe",
    carries=frozenset(
        {"max_batch_size", "batch_timeout_ms", "max_queue_size", "execute_timeout_ms", "replicas"}
    ),
    semantics=(
        "maxBatchDelay counts from when a free worker takes the first request of the batch, not "
        "from that request's arrival: requests that came while all workers were busy wait once "
        "more unless they fill the batch. In dynbatch they go at once when their delay is over.",
        "It is in whole milliseconds, by a clock of the same grain.",
        "While a worker forms its batch the other free ones wait for it; they do not share out "
        "what is queued.",
        "A full queue answers with status 503. jobQueueSize is 100 unless set.",
        "A batch that takes longer than responseTimeout (whole seconds, 120 unless set) has its "
        "worker restarted; dynbatch gives its requests to another replica once.",
        "clientTimeoutInMills is not set for deadline_ms: it drops late requests without an "
        "answer to their callers.",
        "TorchServe is no longer maintained.",
    ),
    render=render,
)
