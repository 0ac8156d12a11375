"""Triton Inference Server: the batching part of a model's config.pbtxt.

Facts, as of the 2.73 client and the core repository of that time:

- Fields: triton-inference-server/common, protobuf/model_config.proto, ModelDynamicBatching,
  ModelQueuePolicy and ModelInstanceGroup.
- Delay, preferred sizes, late binding: triton-inference-server/core,
  src/dynamic_batch_scheduler.cc, GetDynamicBatch and BatcherThread; issue server#3789.
- Full queue and time-outs: the same repository, src/scheduler_utils.cc, PolicyQueue.
- docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/batcher.html,
  "Delayed Batching", "Preferred Batch Sizes" and "Queue Policy".
"""

from bench.export.contract import (
    Rendered,
    Replicas,
    Target,
    at_least_one,
    replicas,
)
from bench.settings import BatcherSettings, Settings

_UINT64, _UINT32 = 2**64 - 1, 2**32 - 1
_KINDS = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}


def render(settings: Settings) -> Rendered:
    """The fields `max_batch_size`, `dynamic_batching` and `instance_group`.

    Raises:
        InputError: a value is larger than its field.
    """
    batcher = settings.batcher
    lines = [
        "# Put these beside the name, backend, input and output of your config.pbtxt.",
        f"max_batch_size: {batcher.max_batch_size}",
        *_dynamic_batching(batcher),
        "instance_group [",
        ",\n".join(_instance_group(group) for group in replicas(settings)),
        "]",
    ]
    return Rendered("\n".join(lines) + "\n")


def _dynamic_batching(batcher: BatcherSettings) -> list[str]:
    delay_us = 0
    if batcher.batch_timeout_ms:
        delay_us = at_least_one(batcher.batch_timeout_ms * 1e3, "the delay in us", _UINT64)
    lines = ["dynamic_batching {", f"  max_queue_delay_microseconds: {delay_us}"]
    if batcher.preferred_batch_sizes:
        # Triton sends no batch above the largest preferred size before its delay is over; the
        # limit among them makes a full batch go at once, as it does in dynbatch.
        sizes = sorted({*batcher.preferred_batch_sizes, batcher.max_batch_size})
        lines.append(f"  preferred_batch_size: [ {', '.join(map(str, sizes))} ]")
    policy = []
    if batcher.max_queue_size is not None:
        size = at_least_one(batcher.max_queue_size, "max_queue_size", _UINT32)
        policy.append(f"    max_queue_size: {size}")
    if batcher.deadline_ms is not None:
        deadline_us = at_least_one(batcher.deadline_ms * 1e3, "the deadline in us", _UINT64)
        policy += [
            f"    default_timeout_microseconds: {deadline_us}",
            "    timeout_action: REJECT",
            "    allow_timeout_override: true",
        ]
    if policy:
        lines += ["  default_queue_policy {", *policy, "  }"]
    return [*lines, "}"]


def _instance_group(group: Replicas) -> str:
    gpus = f", gpus: [ {group.index} ]" if group.kind == "cuda" else ""
    return f"  {{ count: {group.count}, kind: {_KINDS[group.kind]}{gpus} }}"


TARGET = Target(
    name="triton",
    server="Triton",
    carries=frozenset(
        {
            "max_batch_size",
            "batch_timeout_ms",
            "preferred_batch_sizes",
            "max_queue_size",
            "deadline_ms",
            "replicas",
        }
    ),
    semantics=(
        "The delay counts from the arrival of the oldest request, time behind a busy instance "
        "included, as in dynbatch. It is off (0) unless set.",
        "While all instances are busy a batch goes on growing, as in dynbatch, up to the moment "
        "an instance takes it. With no limit on the queue and no time-out Triton hands an "
        "instance its next batch ahead of time; that one may still grow until it runs.",
        "A full queue refuses at once (status UNAVAILABLE), as in dynbatch; there is no limit "
        "unless one is set.",
        "A request past its time-out is refused when the scheduler next looks at it, and not "
        "before. A client may ask for a shorter time-out, never for a longer one.",
        "max_batch_size and the preferred sizes count items, and one request may bring several "
        "of them; dynbatch counted requests of one item.",
        "Latency here includes Triton's network front end, which was not measured.",
    ),
    render=render,
)
