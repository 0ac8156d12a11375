"""One replay, from a ready session to the raw logs."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from types import FrameType
from typing import Any

import pandas as pd

from batching import BatchRecord, DynamicBatcher, Request, RequestError
from bench.environment import describe_environment
from bench.logs import batch_log, request_log
from bench.progress import Progress
from bench.replay import Sent, quiet_gc, replay
from bench.session import Session
from bench.stalls import StallWatch
from bench.telemetry import Telemetry

# From the last preparation to the first arrival: time for the threads to reach their posts.
_LEAD_S = 0.05
# A backlog may take as long to drain as it took to build up, and a little longer; no more.
_MIN_DRAIN_S = 10.0
_INTERRUPTED_DRAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything one replay left behind, nothing computed from it yet.

    Attributes:
        window_s: length of the measured window; of a partial run, the part that was played.
        partial: it was ended before its window was over.
        first_error: the first error that a request ended with, or that ended the replay itself.
    """

    requests: pd.DataFrame
    batches: pd.DataFrame
    telemetry: pd.DataFrame
    stalls: pd.DataFrame
    window_s: float
    partial: bool
    first_error: BaseException | None
    config: dict[str, Any]
    environment: dict[str, Any]
    trace: dict[str, Any]


class _Observer:
    """Keeps every batch; lets go of results, which nobody reads and which would fill the memory."""

    def __init__(self) -> None:
        self.batches: list[BatchRecord] = []

    def __call__(self, batch: BatchRecord, requests: Sequence[Request]) -> None:
        self.batches.append(batch)
        for request in requests:
            if batch.ok and request.loop is None:
                request.value = None


def record(session: Session) -> Recording:
    """Warm up, replay, drain; an interrupt or a crash on the way gives what there is by then.

    Raises:
        BatchExecutionError: the model raised while it was warmed up.
    """
    clock = session.clock
    observer = _Observer()
    target = session.batcher(observer)
    _warm_up(session, target)
    sent = Sent(start_s=clock.now())
    arrival_s = session.arrivals.trace.arrival_s.tolist()
    with StallWatch() as stall_watch, quiet_gc(), _on_signal(sent.stop.set):
        with Telemetry(clock, target.statistics, session.gpu_index) as telemetry:
            sent.start_s = clock.now() + _LEAD_S
            error = _play(session, target, sent, arrival_s)
            cut_s = clock.now() - sent.start_s
            stopped = sent.stop.is_set()
            _drain(target, _INTERRUPTED_DRAIN_S if stopped else max(cut_s, _MIN_DRAIN_S))
        stalls = stall_watch.stop(sent.start_s)
    window_s = session.arrivals.window_s
    batches = [batch for batch in observer.batches if batch.taken_s >= sent.start_s - _LEAD_S]
    partial = cut_s < window_s
    return Recording(
        requests=request_log(
            sent.requests,
            arrival_s,
            sent.start_s,
            sent.ended_s,
            clock.now(),
        ),
        batches=batch_log(batches, sent.start_s),
        telemetry=telemetry.frame(sent.start_s),
        stalls=stalls,
        window_s=max(cut_s, 0.0) if partial else window_s,
        partial=partial,
        first_error=error or next((r.value for r in sent.requests if r.status == "failed"), None),
        config=_config(session),
        environment=_environment(session, target),
        trace=session.arrivals.describe(),
    )


def _warm_up(session: Session, target: DynamicBatcher) -> None:
    limit = session.settings.batcher.max_batch_size
    session.console.print(f"warming up batch sizes 1 to {limit}")
    target.start()
    cold = target.cold_start
    if len(cold.sizes) < limit:
        session.console.print(
            f"this model is slow here: only {len(cold.sizes)} of {limit} batch sizes "
            f"were warmed up in {cold.warm_up_s:.0f} s"
        )
    # Through the batcher too, so that its own code and the allocator have met a full queue.
    for request in [target.submit(payload) for payload in session.payloads]:
        with contextlib.suppress(RequestError):  # the replay will meet it again, and count it
            request.result()


def _play(
    session: Session, target: DynamicBatcher, sent: Sent, arrival_s: list[float]
) -> BaseException | None:
    """Replay under a progress line; whatever ends it early is returned, not raised."""
    try:
        with Progress(session.console, sent, target, arrival_s, session.clock) as progress:
            replay(
                target,
                arrival_s,
                session.payloads,
                session.clock,
                sent,
                client=session.settings.replay.client,
                watch=progress.watch,
            )
    except BaseException as error:  # noqa: BLE001 - what was measured is kept, whatever came
        sent.stop.set()
        return error
    return None


def _drain(target: DynamicBatcher, limit_s: float) -> None:
    """Let what was sent be answered, but not for ever: a hopeless backlog is cancelled."""
    stopping = threading.Thread(target=target.stop, name="dynbatch-drain", daemon=True)
    stopping.start()
    with contextlib.suppress(KeyboardInterrupt):
        stopping.join(limit_s)
    target.stop(drain=False)


@contextlib.contextmanager
def _on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM) end the replay in order; a second one hurries it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()
        for caught in previous:
            signal.signal(caught, signal.default_int_handler)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _config(session: Session) -> dict[str, Any]:
    """What was in force, defaults and resolved values included."""
    settings = session.settings
    return {
        **settings.model.model_dump(mode="json"),
        "model": session.model.name,
        "device": session.device,
        **settings.batcher.model_dump(mode="json"),
        **settings.replay.model_dump(mode="json"),
        "replicas": session.replicas,
        "probe_batch_s": None if session.probe is None else session.probe.batch_s,
    }


def _environment(session: Session, target: DynamicBatcher) -> dict[str, Any]:
    cold = target.cold_start
    return {
        **describe_environment(torch_threads=session.torch_threads, gpu_index=session.gpu_index),
        "cold_start_s": {
            "load": session.executor.load_s,
            "warm_up": cold.warm_up_s,
            "first_request": cold.first_request_s
            if isnan(session.executor.first_execution_s)
            else session.executor.first_execution_s,
        },
        "warmed_sizes": list(cold.sizes),
    }
