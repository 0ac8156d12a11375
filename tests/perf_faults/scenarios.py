"""What goes wrong in a service, tried on any batcher; each outcome is told as it was seen.

The batcher under trial is the async context manager of `tests.perf.peers.contestants`. Batches are
of at most `LIMIT`; the model answers at once unless a scenario makes it do otherwise.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

LIMIT = 8
# The model takes no time: who has no answer after this long will never have one.
HANG_S = 3.0
IDLE_S = 2.0


@dataclass(frozen=True)
class Outcome:
    """What was seen: the finding in words, and a figure where there is one."""

    word: str
    figure: str = ""


@dataclass(frozen=True)
class Scenario:
    """One row of the matrix.

    Attributes:
        title: what is tried, as a table says it.
        play: tries it; takes the batcher and its model.
        timeout_ms: the batch timeout.
    """

    title: str
    play: Callable[[Any, "Model"], Awaitable[Outcome]]
    timeout_ms: float = 20.0


class Model:
    """Answers "x" with "x!". Runs `misbehave(payloads)` first; what that returns is the answer.

    Attributes:
        began_s: when each payload was first seen, on `time.perf_counter`.
    """

    def __init__(self):
        self.misbehave = lambda payloads: None
        self.began_s = {}

    def run(self, payloads):
        payloads = list(payloads)
        for payload in payloads:
            self.began_s.setdefault(payload, time.perf_counter())
        answers = self.misbehave(payloads)
        return [f"{payload}!" for payload in payloads] if answers is None else answers


class Hold:
    """Keeps the model busy from its next batch on, until the `with` block ends."""

    def __init__(self, model):
        self._model = model
        self._released = threading.Event()

    def __enter__(self):
        self._model.misbehave = lambda payloads: self.wait()
        return self

    def wait(self):
        self._released.wait(10 * HANG_S)

    def release(self):
        self._released.set()

    def __exit__(self, *_):
        self.release()


def observe(scenario, make, report):
    """Play a scenario in an event loop of its own; `report` has the outcome before the clean-up."""
    model = Model()

    def run(payloads):
        return model.run(payloads)

    async def play():
        async with make(run, max_batch_size=LIMIT, batch_timeout_ms=scenario.timeout_ms) as batcher:
            await settle(batcher)
            report(await scenario.play(batcher, model))

    with asyncio.Runner() as runner:
        try:
            runner.run(play())
        except (SystemExit, KeyboardInterrupt):
            report(Outcome("ends the event loop, and so the service"))


async def settle(batcher):
    """Let a batcher that learns from its first batches have them.

    BentoML's runs its first eleven without waiting for company.
    """
    for i in range(12):
        await endings(ask(batcher, *(f"settle {i}.{j}" for j in range(LIMIT))))


def ask(batcher, *payloads):
    return {payload: asyncio.ensure_future(batcher.add_request(payload)) for payload in payloads}


def eight():
    return [f"request {i}" for i in range(LIMIT)]


async def endings(asked):
    """How each request ended, once all have or it is clear that they will not."""
    await asyncio.wait(asked.values(), timeout=HANG_S)
    return {payload: ending(payload, task) for payload, task in asked.items()}


def ending(payload, task):
    if not task.done():
        return "hang"
    if task.cancelled():
        return "are cancelled"
    if task.exception() is not None:
        return "fail"
    return "are answered" if task.result() == f"{payload}!" else "get a wrong answer"


def tell(who, ended):
    """For instance "the 7 others are answered", "of the 7 others 5 hang"."""
    counts = Counter(ended.values())
    if len(counts) == 1:
        return f"the {len(ended)} {who} {next(iter(counts))}"
    told = ", ".join(f"{n} {how}" for how, n in counts.most_common() if how != "are answered")
    return f"of the {len(ended)} {who} {told}"


async def until(condition):
    deadline_s = time.perf_counter() + HANG_S
    while not condition() and time.perf_counter() < deadline_s:  # noqa: ASYNC110 - any thread may make it true
        await asyncio.sleep(0.001)


# The scenarios.


async def poison(batcher, model):
    culprit, *_ = requests = eight()

    def choke(payloads):
        if culprit in payloads:
            raise ValueError(culprit)

    model.misbehave = choke
    ended = await endings(ask(batcher, *requests))
    culprits_end = ended.pop(culprit)
    if culprits_end == "fail" and set(ended.values()) == {"are answered"}:
        return Outcome("only the culprit fails")
    if {culprits_end, *ended.values()} == {"fail"}:
        return Outcome(f"all {LIMIT} fail")
    return Outcome(tell("others", ended))


async def cancel_while_waiting(batcher, model):
    requests = eight()
    quitter = requests[2]
    with Hold(model) as hold:
        blocker = ask(batcher, "blocker")
        await until(lambda: "blocker" in model.began_s)
        asked = ask(batcher, *requests)
        await asyncio.sleep(0.05)
        asked[quitter].cancel()
        await asyncio.sleep(0.05)
        hold.release()
        ended = await endings(asked)
    await endings(blocker)
    was_run = "it is run all the same" if quitter in model.began_s else "it is never run"
    return Outcome(f"{of_the_cancelled(ended, quitter)}; {was_run}")


async def cancel_in_flight(batcher, model):
    requests = eight()
    quitter = requests[2]
    with Hold(model) as hold:
        asked = ask(batcher, *requests)
        await until(lambda: quitter in model.began_s)
        asked[quitter].cancel()
        await asyncio.sleep(0.05)
        hold.release()
        ended = await endings(asked)
    return Outcome(of_the_cancelled(ended, quitter))


def of_the_cancelled(ended, quitter):
    swallowed = "" if ended.pop(quitter) == "are cancelled" else "; its cancellation is swallowed"
    return tell("others", ended) + swallowed


async def arrive_while_busy(batcher, model):
    timeout_s = ARRIVE_WHILE_BUSY.timeout_ms / 1e3
    with Hold(model) as hold:
        first = ask(batcher, "first")
        await until(lambda: "first" in model.began_s)
        second = ask(batcher, "second")
        await asyncio.sleep(1.5 * timeout_s)
        hold.release()
        released_s = time.perf_counter()
        await endings(first | second)
    if "second" not in model.began_s:
        return Outcome("never runs")
    return in_timeouts(model.began_s["second"] - released_s, timeout_s)


async def lone_request(batcher, model):
    timeout_s = LONE_REQUEST.timeout_ms / 1e3
    took_s = []
    for i in range(3):
        # Spread over a timeout, for whoever only looks once in each.
        await asyncio.sleep((0.2 + 0.3 * i) * timeout_s)
        began_s = time.perf_counter()
        await endings(ask(batcher, f"lone {i}"))
        took_s.append(time.perf_counter() - began_s)
    return in_timeouts(sum(took_s) / len(took_s), timeout_s)


def in_timeouts(delay_s, timeout_s):
    halves = round(2 * delay_s / timeout_s)
    words = {0: "runs at once", 1: "waits half a timeout", 2: "waits one timeout"}
    word = words.get(halves, f"waits {halves / 2:g} timeouts")
    return Outcome(word, f"{delay_s / timeout_s:.2f}")


async def system_exit(batcher, model):
    return await die(batcher, model, SystemExit)


async def keyboard_interrupt(batcher, model):
    return await die(batcher, model, KeyboardInterrupt)


async def die(batcher, model, error):
    def misbehave(payloads):
        if "fatal" in payloads:
            raise error

    model.misbehave = misbehave
    hows = {"fail": "its caller gets an error", "hang": "its caller hangs"}
    first = (await endings(ask(batcher, "fatal")))["fatal"]
    later = (await endings(ask(batcher, "later")))["later"]
    works = "later calls work" if later == "are answered" else f"later calls {later}"
    return Outcome(f"{hows.get(first, first)}; {works}")


async def wrong_count(batcher, model):
    model.misbehave = lambda payloads: [f"{payload}!" for payload in payloads[1:]]
    ended = await endings(ask(batcher, *eight()))
    word = tell("requests", ended)
    return Outcome(f"all {LIMIT} fail" if set(ended.values()) == {"fail"} else word)


async def second_event_loop(batcher, model):
    async def call_from_here():
        before_s = time.perf_counter()
        try:
            async with asyncio.timeout(HANG_S):
                answer = await batcher.add_request("from afar")
        except TimeoutError:
            return "hangs"
        except Exception as error:  # noqa: BLE001 - which one it is, is the finding
            return f"raises {type(error).__name__}"
        # A caller whose loop nobody wakes may find its answer when its own time-out wakes it.
        if time.perf_counter() - before_s > HANG_S / 2:
            return "hangs"
        return "works" if answer == "from afar!" else "gets a wrong answer"

    word = await asyncio.to_thread(asyncio.run, call_from_here())
    here = (await endings(ask(batcher, "from here")))["from here"]
    return Outcome(word if here == "are answered" else f"{word}; then calls from the first {here}")


async def idle(batcher, model):
    began_s = time.process_time()
    await asyncio.sleep(IDLE_S)
    share = (time.process_time() - began_s) / IDLE_S
    return Outcome("sleeps" if share < 0.01 else "polls", f"{share:.1%} of a core")


ARRIVE_WHILE_BUSY = Scenario(
    "arrived while the worker was busy; once it is free", arrive_while_busy, timeout_ms=200.0
)
LONE_REQUEST = Scenario("lone request, mean of 3", lone_request, timeout_ms=200.0)

SCENARIOS = {
    "poison": Scenario("one bad request in a batch of 8", poison),
    "cancel_while_waiting": Scenario("one of 8 cancelled while it waits", cancel_while_waiting),
    "cancel_in_flight": Scenario("one of 8 cancelled while it runs", cancel_in_flight),
    "arrive_while_busy": ARRIVE_WHILE_BUSY,
    "lone_request": LONE_REQUEST,
    "system_exit": Scenario("the model raises SystemExit", system_exit),
    "keyboard_interrupt": Scenario("the model raises KeyboardInterrupt", keyboard_interrupt),
    "wrong_count": Scenario("the model returns 7 results for 8", wrong_count),
    "second_event_loop": Scenario("called from a second event loop", second_event_loop),
    "idle": Scenario("idle, batch timeout 2 ms", idle, timeout_ms=2.0),
}
