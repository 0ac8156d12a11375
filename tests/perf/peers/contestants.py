"""Who is compared. Each has a module here with the same interface.

`make(run, max_batch_size=..., batch_timeout_ms=...)`, called inside a running event loop, gives an
async context manager whose `add_request(payload)` is awaited for the result. `run` is a plain
blocking function from a list of payloads to as many results; whoever does not call it in a thread
of its own hands it to one as its documentation suggests.
"""

import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Contestant:
    """What a table says of a contestant.

    Attributes:
        label: its name in tables.
        distribution: the package it comes in.
        how: which of its entry points is used, and how the model gets into a worker thread.
    """

    label: str
    distribution: str
    how: str

    @property
    def version(self):
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return "not installed"


OURS = "ours"
CONTESTANTS = {
    OURS: Contestant("dynbatch", "dynbatch", "`DynamicBatcher`; a worker thread of its own"),
    "batched_aio": Contestant(
        "batched, asyncio",
        "batched",
        "`batched.aio.dynamically` on a plain function, which it runs by `asyncio.to_thread`",
    ),
    "batched_threads": Contestant(
        "batched, threads",
        "batched",
        "`batched.dynamically`, awaited through `acall`; a worker thread of its own",
    ),
    "async_batcher": Contestant(
        "async-batcher",
        "async-batcher",
        "a plain `process_batch`, which it runs in the loop's default executor",
    ),
    "batchlet": Contestant(
        "batchlet",
        "batchlet",
        "`AsyncBatcher` with its own wrapper `threaded`; admission limit raised out of the way",
    ),
    "ray_serve": Contestant(
        "Ray @serve.batch",
        "ray",
        "the bare decorator, with a stand-in for the deployment's context that it asks for; "
        "it takes async functions only, so ours awaits `run_in_executor`",
    ),
    "bentoml_cork": Contestant(
        "BentoML dispatcher",
        "bentoml",
        "the internal `CorkDispatcher` on a plain function, which it runs in a thread pool; it has "
        "no batch timeout but waits by its own estimate; `max_latency_ms` at its default, 60 s",
    ),
}


def load(name):
    """The `make` of a contestant, or the reason why there is none."""
    try:
        return importlib.import_module(f"tests.perf.peers.{name}").make, ""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return None, f"{type(error).__name__}: {error}".splitlines()[0]
