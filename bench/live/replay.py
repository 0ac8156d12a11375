"""Open-loop replay: every request is sent at its scheduled time, whatever the system's state."""

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from batching import Clock, Request
from batching.errors import QueueFullError, RequestError
from bench.targets.contract import Target

Client = Literal["thread", "loop"]

# A sleeping client looks up this often to see whether it was interrupted.
_LOOK_UP_S = 0.1
# Callers on an event loop are waited for this long once an interrupt has come.
_INTERRUPTED_DRAIN_S = 2.0


@dataclass(slots=True)
class Sent:
    """What has been sent so far; grows while the replay runs.

    Attributes:
        requests: in order of their schedule; request i was due at `start_s + arrival_s[i]`.
        ended_s: when the caller of request i had its answer, where callers take the time
            themselves (client "loop"); empty otherwise.
        start_s: the window's start, in seconds of the clock.
        stop: ends the sending early; set by `interrupt`, or once enough was sent.
        stopped_s: when it was interrupted, in seconds of the clock; None if it was not.
    """

    start_s: float
    requests: list[Request] = field(default_factory=list)
    ended_s: dict[int, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    stopped_s: float | None = None

    def interrupt(self, now_s: float) -> None:
        """End the replay early; the first call counts."""
        if self.stopped_s is None:
            self.stopped_s = now_s
        self.stop.set()


def replay(
    target: Target,
    arrival_s: Sequence[float],
    payloads: Sequence[Any],
    clock: Clock,
    sent: Sent,
    *,
    client: Client = "thread",
    watch: Callable[[], None] | None = None,
    drain_limit_s: float = 60.0,
) -> None:
    """Send the requests and return once the last is sent (client "loop": answered).

    Args:
        target: what answers them; started.
        arrival_s: when each is due, seconds after `sent.start_s`, non-decreasing.
        payloads: used in turn, over and over.
        clock: paces the sending.
        sent: filled as requests are sent.
        client: "thread": one thread calls `submit`; nothing runs once a request but that call.
            "loop": a task for each request awaits its answer on an event loop, as a service's
            handlers do.
        drain_limit_s: how long callers on an event loop are waited for after the last is sent.
        watch: called now and then in the calling thread while the replay runs; it paces itself.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            if client == "thread":
                _send_from_thread(target, arrival_s, payloads, clock, sent)
            else:
                _send_from_loop(target, arrival_s, payloads, clock, sent, drain_limit_s)
        except BaseException as error:  # noqa: BLE001 - carried into the calling thread
            failure.append(error)

    thread = clock.spawn(run, name="dynbatch-client", role="client")
    if watch is not None:
        while thread.is_alive():
            watch()
    clock.join(thread)
    if failure:
        raise failure[0]


def _send_from_thread(
    target: Target, arrival_s: Sequence[float], payloads: Sequence[Any], clock: Clock, sent: Sent
) -> None:
    submit, now, append = target.submit, clock.now, sent.requests.append
    start_s, stop, kinds = sent.start_s, sent.stop, len(payloads)
    for i, offset_s in enumerate(arrival_s):
        due_s = start_s + offset_s
        while (now_s := now()) < due_s:
            if stop.is_set():
                return
            clock.sleep_until(min(due_s, now_s + _LOOK_UP_S))
        if stop.is_set():
            return
        try:
            append(submit(payloads[i % kinds]))
        except QueueFullError as refused:
            append(refused.request)


def _send_from_loop(  # noqa: PLR0917 - the thread's arguments and one more
    target: Target,
    arrival_s: Sequence[float],
    payloads: Sequence[Any],
    clock: Clock,
    sent: Sent,
    drain_limit_s: float,
) -> None:
    now, kinds = clock.now, len(payloads)

    async def call(i: int) -> None:
        try:
            request = target.submit(payloads[i % kinds], asyncio.get_running_loop())
        except QueueFullError as refused:
            request = refused.request
        sent.requests.append(request)
        if not request.done():
            with contextlib.suppress(RequestError):
                await request.future  # type: ignore[misc]
        sent.ended_s[i] = now()
        request.future = None
        if request.status == "ok":
            request.value = None  # nobody reads it, and outputs would fill the memory

    async def send() -> None:
        tasks: set[asyncio.Task[None]] = set()
        for i, offset_s in enumerate(arrival_s):
            due_s = sent.start_s + offset_s
            while (now_s := now()) < due_s and not sent.stop.is_set():  # noqa: ASYNC110 - paces
                await asyncio.sleep(min(due_s - now_s, _LOOK_UP_S))
            if sent.stop.is_set():
                break
            task = asyncio.create_task(call(i))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        give_up_s = now() + drain_limit_s
        while tasks and now() < give_up_s:
            await asyncio.wait(tasks, timeout=_LOOK_UP_S)
            if sent.stopped_s is not None:
                give_up_s = min(give_up_s, now() + _INTERRUPTED_DRAIN_S)

    # select() takes microseconds where epoll rounds a time-out up to whole milliseconds.
    def make_loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(send())
