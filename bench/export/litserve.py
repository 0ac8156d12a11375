"""LitServe: a LitAPI with batching, and its server.

Facts, as of LitServe 0.2.19:

- Delay: litserve/loops/base.py, collate_requests; loops/simple_loops.py, BatchedLoop.
- `timeout`: the same; litserve/server.py refuses one below `batch_timeout`.
- The batching arguments belong to LitAPI, those of LitServer are deprecated:
  lightning.ai/docs/litserve/api-reference/litserver. See also .../features/batching.

`make check-exports` runs what this says against the package itself.
"""

from bench.export.contract import (
    Rendered,
    Replicas,
    Target,
    one_kind,
    seconds,
)
from bench.export.snippets import LOAD, filled
from bench.settings import Settings

_TEXT = """\
import litserve as ls

$load


class BatchedModel(ls.LitAPI):
    def setup(self, device):
        self.run = load(device)

    def decode_request(self, request):
        return request["input"]

    def batch(self, inputs):
        return list(inputs)

    def predict(self, batch):
        return self.run(batch)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"output": output}


def make_server():
    api = BatchedModel(max_batch_size=$size, batch_timeout=$timeout_s)
    return ls.LitServer(
        api,
        accelerator=$accelerator,
        devices=$devices,
        workers_per_device=$workers,
        timeout=$waiting_s,
    )


if __name__ == "__main__":
    make_server().run(port=8000)
"""


def render(settings: Settings) -> Rendered:
    """A server to put your model into.

    Raises:
        InputError: the devices are of several kinds.
    """
    batcher = settings.batcher
    groups = one_kind(settings, "LitServe")
    workers = max(group.count for group in groups)
    remarks = []
    if any(group.count != workers for group in groups):
        remarks.append(
            f"LitServe puts as many workers on every device: {workers} each, "
            f"{workers * len(groups)} in place of {sum(group.count for group in groups)} replicas"
        )
    if batcher.batch_timeout_ms == 0 and batcher.max_batch_size > 1:
        remarks.append(
            "batch_timeout_ms=0 makes an idle LitServe worker poll its queue without a pause, "
            "which costs a core each"
        )
    waiting_s = "False"
    if batcher.deadline_ms is not None:
        if batcher.deadline_ms < batcher.batch_timeout_ms:
            remarks.append(
                f"deadline_ms={batcher.deadline_ms:g} is left out: LitServe refuses a timeout "
                f"below batch_timeout"
            )
        else:
            waiting_s = seconds(batcher.deadline_ms)
    body = filled(
        _TEXT,
        load=LOAD,
        size=batcher.max_batch_size,
        timeout_s=seconds(batcher.batch_timeout_ms),
        accelerator=f'"{groups[0].kind}"',
        devices=_devices(groups),
        workers=workers,
        waiting_s=waiting_s,
    )
    return Rendered(body, tuple(remarks))


def _devices(groups: list[Replicas]) -> str:
    if groups[0].kind == "cuda":
        return repr([group.index for group in groups])
    return "1"


TARGET = Target(
    name="litserve",
    server="LitServe",
    carries=frozenset({"max_batch_size", "batch_timeout_ms", "deadline_ms", "replicas"}),
    semantics=(
        "batch_timeout counts from when a free worker starts to look, again and again whether or "
        "not anything waits. A lone request waits for what is left of that window, half of it on "
        "average; requests that came while the worker was busy wait for a whole one unless they "
        "fill the batch. In dynbatch the delay counts from the oldest request's arrival.",
        "An idle worker wakes up at least every millisecond.",
        "The queue has no limit, so nothing is refused under overload.",
        "timeout is how long a request may wait before a worker takes it (then status 504); False "
        "is for ever. It is looked at only when the request is taken.",
        "Workers are processes that share one queue and look into it at the same time, so two "
        "idle ones may split what dynbatch would have put into one batch.",
        "When a batch raises, all of its requests fail; dynbatch finds the culprit.",
    ),
    render=render,
)
