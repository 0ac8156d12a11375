"""Lives a scenario, in virtual or in real time, and writes down all that came of it.

What is seen to be wrong is a *problem*. Problems are gathered, not raised, because most of them
are seen in a thread of the batcher's, where it would swallow an exception of ours.
"""

import asyncio
import sys
import threading
import time
import traceback

from batching import (
    BatcherClosedError,
    BatchingError,
    DynamicBatcher,
    FaultTolerance,
    RealClock,
    VirtualClock,
)
from tests.batching.life.callers import Callers
from tests.batching.life.mischief import (
    HANG_MS,
    Mischief,
    SplittingModel,
    TroubledPolicy,
    TroubledRecorder,
    function_of,
    retry_on,
)
from tests.batching.life.oracle import MOST_LANES, judge, lanes_of
from tests.batching.life.scenarios import Cancel, Flood, Sleep, Start, Stop, Submit

# Lives are over in a second or two of their time; whatever is not by then never will be.
VIRTUAL_LIMIT_S = 100.0
LIMIT_S = 60.0
# Real seconds at one place after which threads are stuck outside of the virtual clock.
STUCK_S = 5.0


class Life:
    """One scenario being lived.

    Attributes:
        live: in real time, where less is exact.
        problems: what is wrong, a line each.
        events: what happened, a line each.
        batches: as an observer saw them: the records, and the requests of each.
        is_cut: somebody stopped the batcher without draining it.
        threads_before: those that are none of its batcher's.
    """

    slo_ms = 60.0

    def __init__(self, scenario, *, live):
        self.scenario = scenario
        self.live = live
        self.problems = []
        self.events = []
        self.batches = []
        self.is_cut = False
        self.threads_before = set(threading.enumerate())
        self.over = threading.Event()
        self.mischief = Mischief(self, scenario.setup)
        self.callers = Callers(self)
        self._began_s = 0.0
        self._driver = None
        self._own_threads = {}  # by ident: what each does
        self._asides = []
        self._given_up = False
        self._starts = self._started = self._stops = self._stopped = 0

    def note(self, text):
        self.events.append(f"{(self.clock.now() - self._began_s) * 1e3:9.2f} ms  {text}")

    def problem(self, text):
        if not self._given_up:
            self.problems.append(text)
            self.note(f"PROBLEM: {text}")

    def give_up(self, why):
        """Say who is at what, and end it here."""
        self.problem(f"{why}; not yet back: {', '.join(self._own_threads.values())}")
        self._given_up = True
        self.over.set()

    def sleep(self, ms):
        if ms:
            self.clock.sleep_until(self.clock.now() + ms / 1e3)

    def pump(self):
        """Let the callers in the event loop come to rest; it runs only here."""
        for _ in range(4):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    # From its batcher's making to its end.

    def live_it(self):
        """In the driving thread, which a virtual clock counts in."""
        self._driver = threading.get_ident()
        self._own_threads[self._driver] = "the driver"
        self.clock = RealClock() if self.live else VirtualClock()
        self._began_s = self.clock.now()
        interval_s = sys.getswitchinterval()
        alarm = None if self.live else self.clock.spawn(self._alarm, name="alarm", role="client")
        self.loop = asyncio.new_event_loop()
        try:
            self._make()
            for step in self.scenario.steps:
                self.note(str(step))
                self._do(step)
                self.callers.check_counts()
            self._end()
            judge(self)
            if sys.getswitchinterval() != interval_s:
                self.problem("the interpreter's switch interval was not restored")
        except BaseException as error:  # noqa: BLE001 - told with the rest
            self.problem("".join(traceback.format_exception(error)))
        self.over.set()
        self.loop.close()
        if alarm is not None:
            self.clock.join(alarm)

    def _make(self):
        setup = self.scenario.setup
        self.policy = TroubledPolicy(self, setup)
        self.recorder = TroubledRecorder(setup.recorder)
        self.batcher = DynamicBatcher(
            function_of(self.mischief) if setup.is_function else SplittingModel(self.mischief),
            max_batch_size=setup.max_batch_size,
            policy=self.policy,
            max_queue_size=setup.max_queue_size,
            deadline_ms=setup.deadline_ms,
            max_starvation_ms=setup.max_starvation_ms,
            faults=FaultTolerance(
                max_retries=setup.max_retries,
                retry_on=retry_on(self, setup.retry_on),
                retry_backoff_ms=3.0,
                isolate=setup.isolate,
                execute_timeout_ms=setup.execute_timeout_ms,
            ),
            replicas=setup.replicas,
            in_flight=setup.in_flight,
            warm_up_budget_s=0,
            observer=self._observe,
            recorder=self.recorder,
            clock=self.clock,
        )
        self.batcher.add_observer(lambda record, requests: self.batches.append((record, requests)))

    def _observe(self, record, requests):
        kind = self.scenario.setup.observer
        if kind == "raises":
            raise RuntimeError("observer")
        if kind == "exits":
            raise SystemExit("observer")
        if kind == "stops":
            self.stop(drain=True)
        elif kind == "submits":
            self.callers.submit_more()
        elif kind == "cancels":
            self.callers.cancel_all()
        elif kind == "counts":
            self.batcher.statistics()

    def _end(self):
        """Stop it, after all has ended or before; then nothing may be left running."""
        callers = self.callers
        if self.scenario.ending == "settle" and self.state == "open":
            self._wait_until(lambda: not callers.pending())
            callers.check_counts()
            if (waits := callers.pending()) and self.state == "open":
                self.problem(f"never ended while it served: {'; '.join(map(str, waits))}")
            elif not self.live and (lanes := lanes_of(self.batcher)) > MOST_LANES:
                self.problem(f"with nothing left to serve the batcher holds {lanes} lanes")
        self.note("the end")
        self.stop(drain=self.scenario.ending != "cut")
        for thread in self._asides:
            self.clock.join(thread)
        self._wait_until(lambda: not callers.pending())
        # The threads of what was given up come back, and are not waited for.
        hanging = sum(
            asked.payload.act == "hangs" for asked in callers.asked
        )  # one after the other
        self.sleep(max(1.0, HANG_MS * hanging))
        callers.check_counts(finally_=True)

    def _wait_until(self, is_so):
        until_s = self.clock.now() + 15.0
        self.pump()
        while not is_so() and self.clock.now() < until_s:
            self.sleep(5 if self.live else 500)
            self.pump()

    def _alarm(self):
        until_s = self.clock.now() + VIRTUAL_LIMIT_S
        self.clock.sleep_until(until_s)
        if not self.over.is_set():
            self.give_up(f"not over after {VIRTUAL_LIMIT_S:g} virtual seconds")
            threading.Event().wait()  # it never parks again, so that no other thread runs on

    # Steps.

    def _do(self, step):
        match step:
            case Start(aside=True):
                self._aside(self.start, "start()")
            case Start():
                self.start()
            case Stop(aside=True):
                self._aside(lambda: self.stop(drain=step.drain), f"stop(drain={step.drain})")
            case Stop():
                self.stop(drain=step.drain)
            case Submit():
                self.callers.submit(step)
            case Flood():
                self._aside(lambda: self.callers.flood(step), str(step))
            case Cancel():
                self.callers.cancel(step.back)
            case Sleep():
                self.sleep(step.ms)
        self.pump()

    def _aside(self, target, name):
        def run():
            ident = threading.get_ident()
            self._own_threads[ident] = name
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - told, not lost with its thread
                self.problem(f"{name} raised {error!r}")
            del self._own_threads[ident]

        self._asides.append(self.clock.spawn(run, name=f"life {name}", role="client"))

    @property
    def is_driver(self):
        return threading.get_ident() == self._driver

    @property
    def is_own_thread(self):
        """Whether this is a caller's thread, and none of the batcher's."""
        return threading.get_ident() in self._own_threads

    @property
    def state(self):
        """What it is to its callers: open, closed, or between where it is not known which."""
        if self._stops:
            return "closed" if self._stopped or not self.live else "between"
        if self._started:
            return "open"
        return "between" if self._starts and self.live else "closed"

    def start(self):
        was_started, was_stopped = self._starts, self._stops
        fails = self.scenario.setup.load_fails
        self._starts += 1
        try:
            self.batcher.start()
        except BatcherClosedError as error:
            self.note(f"start() raised {error!r}")
            if not was_started and not self._stops:
                self.problem("the first start() was refused")
        except BatchingError as error:
            self.note(f"start() raised {error!r}")
            if not fails or was_started:
                self.problem(f"start() raised {error!r}")
        else:
            if fails:
                self.problem("start() returned though the model cannot be loaded")
            if was_stopped or self._started or (was_started and not self.live):
                self.problem("start() returned though it was started or stopped before")
            self._started += 1

    def stop(self, *, drain):
        """Stop it, from wherever this is called."""
        if not self.is_own_thread:
            try:
                self.batcher.stop(drain=drain)
            except BatchingError as error:
                self.note(f"stop() in a thread of the batcher raised {error!r}")
                raise
            self.problem("stop() in a thread of the batcher returned")
            return
        self._stops += 1
        self.is_cut = self.is_cut or not drain
        self.batcher.stop(drain=drain)
        self._stopped += 1
        self.note("stop() returned")
        waits = [asked for asked in self.callers.pending() if asked.request is not None]
        if waits:
            self.problem(f"stop() returned before the end of {'; '.join(map(str, waits))}")


def live_through(scenario, *, live=False):
    """Live it; returns the life.

    Raises:
        AssertionError: there were problems; the message has them, the scenario and the events.
    """
    life = Life(scenario, live=live)
    threading.Thread(target=life.live_it, daemon=True).start()
    began_s = since_s = time.monotonic()
    seen = ""
    while not life.over.wait(0.5):
        now_s, stacks = time.monotonic(), _stacks()
        if stacks != seen:
            seen, since_s = stacks, now_s
        # Live threads may all wait for good reason, as those of a virtual clock may not.
        if now_s - began_s > LIMIT_S or (now_s - since_s > STUCK_S and not live):
            life.give_up(f"stuck, with\n{stacks}\n   ")
    if life.problems:
        problems, events = "\n  ".join(life.problems), "\n  ".join(life.events[-60:])
        how = "live" if live else "in virtual time"
        raise AssertionError(f"{how}: {scenario}\n  {problems}\nwhat happened:\n  {events}")
    return life


def _stacks():
    """Where the threads of a batcher and of its callers are."""
    frames = sys._current_frames()
    lines = []
    for thread in threading.enumerate():
        if thread.name.startswith(("dynbatch", "life", "Thread")) and thread.ident in frames:
            stack = traceback.extract_stack(frames[thread.ident])[-4:]
            at = " > ".join(f"{frame.name}:{frame.lineno}" for frame in stack)
            lines.append(f"    {thread.name}: {at}")
    return "\n".join(lines)
