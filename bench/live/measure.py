"""One run, from a ready session to the raw logs."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import pandas as pd

from batching import BatchRecord, Clock, DynamicBatcher, QueueFullError, Request, RequestError
from batching.errors import describe
from bench.hardware.devices import DeviceWatch
from bench.hardware.environment import command_line, describe_environment
from bench.hardware.quiet import quiet_gc
from bench.interrupts import interrupt
from bench.live.early_stop import SequentialStop
from bench.live.logs import batch_log, request_log
from bench.live.plan import PlannedRun
from bench.live.prediction import Prediction, predict
from bench.live.progress import Progress
from bench.live.replay import Sent, replay
from bench.live.session import Session
from bench.live.stalls import StallWatch
from bench.live.telemetry import Telemetry
from results.run.analysis import analyse
from results.run.logs import RunLogs
from results.run.record import Run, RunDirectory, RunRecord
from workloads import ResolvedTrace

# From the last preparation to the first arrival: time for the threads to reach their posts.
_LEAD_S = 0.05
# A backlog may take as long to drain as it took to build up, and a little longer; no more.
_MIN_DRAIN_S = 10.0
_WARM_UP_S = 1.0
_HUNG_S = 5.0
_INTERRUPTED_DRAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything one replay left behind, nothing computed from it yet.

    Attributes:
        window_s: length of the measured window; of a partial run, the part that was played.
        partial: it was ended before its window was over.
        interrupted: by Ctrl-C or SIGTERM; of a run that is whole, once its window was over.
        first_error: the first error that a request ended with, or that ended the replay itself.
    """

    requests: pd.DataFrame
    batches: pd.DataFrame
    telemetry: pd.DataFrame
    stalls: pd.DataFrame
    window_s: float
    partial: bool
    interrupted: bool
    first_error: BaseException | None
    config: dict[str, Any]
    environment: dict[str, Any]
    trace: dict[str, Any]
    prediction: Prediction | None = None


class RunStopper(Protocol):
    """What may end a run before its time.

    Attributes:
        window_s: the part of the window that was played when it ended it; None if it did not.
        hopeless: whether what still waits then need not be answered.
    """

    window_s: float | None
    hopeless: bool

    def watch(self, sent: Sent, now_s: float) -> None:
        """Look at the run, some times a second; sets `sent.stop` to end the sending."""
        ...


class _Observer:
    """Keeps every batch; lets go of results, which nobody reads and which would fill the memory."""

    def __init__(self) -> None:
        self.batches: list[BatchRecord] = []

    def __call__(self, batch: BatchRecord, requests: Sequence[Request]) -> None:
        self.batches.append(batch)
        for request in requests:
            if batch.ok and request.loop is None:
                request.value = None


def measure_run(session: Session, run: PlannedRun, ender: RunStopper | None = None) -> Recording:
    """Warm up, replay, drain; an interrupt or a crash on the way gives what there is by then.

    Args:
        session: the model.
        run: what is sent to it, behind which knobs.
        ender: may end the run before its time; in place of what --until-decided would use.

    Raises:
        BatchExecutionError: the model raised while it was warmed up.
    """
    clock = session.clock
    observer = _Observer()
    target = session.batcher(run.settings.batcher, observer)
    _warm_up(session, run, target)
    sent = Sent(start_s=clock.now())
    arrival_s = run.arrivals.trace.arrival_s.tolist()
    looks = ender or _looks(run)
    placements = session.placements if session.model.uses_torch else ()
    devices = DeviceWatch(placements, session.flops(run.payloads))
    with _on_signal(lambda: sent.interrupt(clock.now())) as interrupted:
        with StallWatch() as stall_watch, quiet_gc():
            with Telemetry(clock, target.statistics, devices.gpus) as telemetry:
                sent.start_s = clock.now() + _LEAD_S
                error = _play(session, run, target, sent, looks)
                _drain(run, target, sent, clock, hopeless=_is_hopeless(looks))
            stalls = stall_watch.stop(sent.start_s)
        window_s = run.arrivals.window_s
        if looks is not None and looks.window_s is not None:
            window_s = looks.window_s
        arrivals = _played(run.arrivals, window_s, len(sent.requests))
        batches = [batch for batch in observer.batches if batch.taken_s >= sent.start_s - _LEAD_S]
        played_s = inf if sent.stopped_s is None else max(0.0, sent.stopped_s - sent.start_s)
        failed = (request.value for request in sent.requests if request.status == "failed")
        first_error = error or next(failed, None)
        return Recording(
            requests=request_log(sent.requests, arrival_s, sent.start_s, sent.ended_s, clock.now()),
            batches=batch_log(batches, sent.start_s),
            telemetry=telemetry.frame(sent.start_s),
            stalls=stalls,
            window_s=min(window_s, played_s),
            partial=played_s < window_s,
            first_error=first_error,
            config=_config(session, run, arrivals),
            environment=_environment(session, devices, target, first_error),
            trace=arrivals.describe(),
            prediction=_predicted(session, run, arrivals),
            # The last to be worked out: a signal may come all the while.
            interrupted=interrupted.is_set() or isinstance(error, KeyboardInterrupt),
        )


def _looks(run: PlannedRun) -> SequentialStop | None:
    """What ends a run once its SLOs are decided; None where it has a length of its own."""
    if not run.looks_s:
        return None
    arrivals = run.arrivals
    return SequentialStop(
        run.looks_s, run.settings.slo.parsed, arrivals.trace.arrival_s, arrivals.tail_s
    )


def _is_hopeless(looks: RunStopper | None) -> bool:
    return looks is not None and looks.window_s is not None and looks.hopeless


def _played(arrivals: ResolvedTrace, window_s: float, sent: int) -> ResolvedTrace:
    """What was sent of the arrivals of a run that ended before all of them were."""
    if window_s >= arrivals.window_s or sent >= len(arrivals.trace):
        return arrivals
    end_s = max(window_s, float(arrivals.trace.arrival_s[sent]))
    return replace(
        arrivals,
        trace=arrivals.trace.window(0.0, end_s),
        window_s=window_s,
        tail_s=end_s - window_s,
    )


def _predicted(session: Session, run: PlannedRun, arrivals: ResolvedTrace) -> Prediction | None:
    """What a simulation says; of a run that ended once it was decided, over what it came to."""
    if run.loaded is None or (run.prediction is not None and arrivals is run.arrivals):
        return run.prediction
    knobs = run.settings.batcher
    return predict(knobs, session.replicas(knobs), run.loaded, arrivals)


def _warm_up(session: Session, run: PlannedRun, target: DynamicBatcher) -> None:
    limit = run.settings.batcher.max_batch_size
    session.console.print(f"warming up batch sizes 1 to {limit}")
    target.start()
    cold = target.cold_start
    if len(cold.sizes) < limit:
        session.console.print(
            f"this model is slow here: only {len(cold.sizes)} of {limit} batch sizes "
            f"were warmed up in {cold.warm_up_s:.0f} s"
        )
    # Through the batcher too, so that its own code and the allocator have met a full queue. What a
    # long batch timeout holds back for longer than this is not waited for.
    until_s = session.clock.now() + _WARM_UP_S
    requests: list[Request] = []
    for payload in run.payloads:
        with contextlib.suppress(QueueFullError):
            requests.append(target.submit(payload))
    for request in requests:
        with contextlib.suppress(RequestError, TimeoutError):  # the replay will count failures
            request.result(max(0.0, until_s - session.clock.now()))
        target.cancel(request)
    # What is counted and timed next is of this model alone at work.
    until_s = session.clock.now() + _HUNG_S
    while target.statistics().in_flight and session.clock.now() < until_s:
        session.clock.sleep_until(session.clock.now() + 0.001)


def _play(
    session: Session,
    run: PlannedRun,
    target: DynamicBatcher,
    sent: Sent,
    looks: RunStopper | None,
) -> BaseException | None:
    """Replay under a progress line; whatever ends it early is returned, not raised."""
    clock = session.clock
    arrival_s = run.arrivals.trace.arrival_s.tolist()

    def watch() -> None:
        progress.watch()
        if looks is not None:
            looks.watch(sent, clock.now())

    try:
        with Progress(session.console, sent, target, arrival_s, clock) as progress:
            replay(
                target,
                arrival_s,
                run.payloads,
                clock,
                sent,
                client=run.settings.replay.client,
                watch=watch,
                drain_limit_s=max(run.arrivals.window_s, _MIN_DRAIN_S),
            )
    except BaseException as error:  # noqa: BLE001 - what was measured is kept, whatever came
        sent.interrupt(clock.now())
        return error
    return None


def _drain(
    run: PlannedRun, target: DynamicBatcher, sent: Sent, clock: Clock, *, hopeless: bool
) -> None:
    """Let what was sent be answered, but not for ever: a hopeless backlog is cancelled.

    What was due in the window is answered before the batcher is stopped: stopping sends off what
    it still holds, and would cut the last requests' waiting short.
    """
    if hopeless:
        _stop(target, drain=False, limit_s=_HUNG_S)
        return
    now = clock.now
    limit_s = max(now() - sent.start_s, _MIN_DRAIN_S)
    if sent.stopped_s is not None:
        limit_s = _INTERRUPTED_DRAIN_S
    until_s = now() + limit_s
    measured = int(run.arrivals.trace.arrival_s.searchsorted(run.arrivals.window_s))
    with contextlib.suppress(KeyboardInterrupt):
        for request in sent.requests[:measured]:
            while not request.done() and now() < until_s and sent.stopped_s is None:
                clock.sleep_until(now() + 0.01)
        _stop(target, drain=True, limit_s=max(0.0, until_s - now()))
    _stop(target, drain=False, limit_s=_HUNG_S)


def _stop(target: DynamicBatcher, *, drain: bool, limit_s: float) -> None:
    """Stop in a thread of its own, since a model that hangs would keep this one for ever."""
    stopping = threading.Thread(
        target=target.stop, kwargs={"drain": drain}, name="dynbatch-drain", daemon=True
    )
    stopping.start()
    stopping.join(limit_s)


@contextlib.contextmanager
def _on_signal(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Let the first Ctrl-C (or SIGTERM) end the replay in order; a second one hurries it.

    Gives what is set once one has come.
    """
    signalled = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield signalled
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        signalled.set()
        stop()
        for caught in previous:
            signal.signal(caught, interrupt)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, handle)
    try:
        yield signalled
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _config(session: Session, run: PlannedRun, arrivals: ResolvedTrace) -> dict[str, Any]:
    """What was in force, defaults and resolved values included."""
    settings = run.settings
    knobs = settings.batcher
    return {
        **settings.model.model_dump(mode="json"),
        "model": session.model.name,
        "device": session.device,
        **session.layout(knobs),
        **knobs.model_dump(mode="json"),
        **settings.replay.model_dump(mode="json"),
        "slo": [str(slo) for slo in settings.slo.parsed],
        "until_decided": settings.slo.until_decided,
        "max_duration": run.looks_s[-1] if run.looks_s else None,
        "looks": len(run.looks_s) or None,
        "rate": arrivals.rate_rps,
        "utilization": arrivals.utilization,
        "duration": arrivals.window_s,
        "seed": arrivals.seed,
        "replicas": session.replicas(knobs),
        "replica_devices": session.replica_devices(knobs),
        **({} if run.loaded is None else run.loaded.describe()),
        "probe_batch_s": None if session.probe is None else session.probe.batch_s,
    }


def _environment(
    session: Session,
    devices: DeviceWatch,
    target: DynamicBatcher,
    error: BaseException | None,
) -> dict[str, Any]:
    cold = target.cold_start
    return {
        **describe_environment(torch_threads=session.torch_threads, gpu_index=session.gpu_index),
        "devices": devices.facts,
        "flops": devices.flops,
        "cold_start_s": {
            "load": session.executor.load_s,
            # The first to make it: compiled code is kept, and a batcher's executors find it.
            "engine": session.executor.engine_s,
            "warm_up": cold.warm_up_s,
            "first_request": cold.first_request_s
            if isnan(session.executor.first_execution_s)
            else session.executor.first_execution_s,
        },
        "warmed_sizes": list(cold.sizes),
        "engine_bytes": cold.engine_bytes,
        "uncaptured_batches": target.statistics().uncaptured_batches,
        "first_error": None if error is None else describe(error),
    }


def write_run(folder: Path, recording: Recording) -> Run:
    """Write the logs, then the record, then what is computed from them.

    Raises:
        RunExistsError: the folder holds a run already.
    """
    predicted = recording.prediction
    directory = RunDirectory.create(folder)
    directory.write_logs(
        RunLogs(
            requests=recording.requests,
            batches=recording.batches,
            telemetry=recording.telemetry,
            stalls=recording.stalls,
        )
    )
    directory.write_record(
        RunRecord(
            id=folder.resolve().name,
            partial=recording.partial,
            window_s=recording.window_s,
            config={**recording.config, "command": command_line()},
            environment=recording.environment,
            trace=recording.trace,
            prediction=None if predicted is None else predicted.metrics,
            bounds=None if predicted is None else predicted.bounds,
            profiled_execute_s=None if predicted is None else predicted.execute_s,
        )
    )
    return analyse(folder)
