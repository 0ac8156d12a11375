"""Whatever a batcher calls that is not its own, doing what it should not."""

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan

import pandas as pd
import torch

from batching.models.contract import Collated
from batching.policies import Dispatch, PolicyOptions, Wait, make_policy
from tests.batching.life.scenarios import WRONG, WRONG_OF_FUNCTIONS, Setup

HANG_MS = 150.0


class Payload:
    """What a request asks for, and what the model does to its batch."""

    def __init__(self, index: int, act: str = "fine", shape: int = 0):
        self.index = index
        self.act = act
        self.shape = shape
        self.failures = {"fails once": 1, "fails twice": 2}.get(act, 0)

    @property
    def answer(self):
        return ("answer", self.index)


@dataclass
class Run:
    """One batch that the model was given."""

    members: list[Payload]
    began_s: float
    error: BaseException | None = None
    is_wrong: bool = False
    ended_s: float = nan


@dataclass
class Mischief:
    """The model's doings; `life` has the clock, and the ways into the batcher."""

    life: object
    setup: Setup
    runs: list[Run] = field(default_factory=list)

    def serve(self, payloads):
        life = self.life
        run = Run(list(payloads), life.clock.now())
        self.runs.append(run)
        try:
            life.sleep(self.setup.batch_ms)
            for payload in payloads:
                self._act(payload, payloads)
        except BaseException as error:
            run.error = error
            raise
        finally:
            run.ended_s = life.clock.now()
        wrong = [p.act for p in payloads if p.act in WRONG + WRONG_OF_FUNCTIONS]
        run.is_wrong = bool(wrong)
        answers = [p.answer for p in payloads]
        return wrong_results(wrong[0], answers) if wrong else answers

    def _act(self, payload, payloads):
        act, life = payload.act, self.life
        if act == "slow":
            life.sleep(20)
        elif act == "hangs":
            life.sleep(HANG_MS)
        elif act == "poison":
            raise ValueError("poison")
        elif act == "exit":
            raise SystemExit("out of the model")
        elif act == "interrupt":
            raise KeyboardInterrupt("in the model")
        elif act == "too large alone" or (act == "too large together" and len(payloads) > 1):
            raise MemoryError("too large")
        elif payload.failures:
            payload.failures -= 1
            raise ConnectionError("away")
        elif act == "submits":
            life.submit_more()
        elif act == "submits and waits":
            request = life.submit_more()
            if request is not None:
                request.result(60)
        elif act == "stops":
            life.stop(drain=True)


class BrokenSequence(Sequence):
    """A sequence whose length is right and whose iteration is not."""

    def __init__(self, answers, how):
        self._answers = answers
        self._how = how

    def __len__(self):
        return len(self._answers)

    def __getitem__(self, index):
        return self._answers[index]

    def __iter__(self):
        last = self._answers[-1]
        yield from self._answers[:-1]
        if self._how == "iterator that raises":
            raise RuntimeError("half-way through its results")
        if self._how == "iterator that goes on":
            yield last
            yield last


def wrong_results(kind, answers):
    """Results of a batch that are none."""
    count = len(answers)
    if kind.startswith("iterator"):
        return BrokenSequence(answers, kind)
    made = {
        "too few": lambda: answers[:-1],
        "too many": lambda: [*answers, answers[-1]],
        "None": lambda: None,
        "generator": lambda: (answer for answer in answers),
        "dict": lambda: dict(enumerate(answers)),
        "string": lambda: "x" * count,
        "set": lambda: set(answers),
        "namedtuple": lambda: namedtuple("Out", [f"f{i}" for i in range(count)])(*answers),  # noqa: PYI024 - the untyped kind is a user's
        "square DataFrame": lambda: pd.DataFrame([[0] * count] * count),
        "other DataFrame": lambda: pd.DataFrame([[0] * (count + 1)] * count),
        "tuple of tensors": lambda: tuple(torch.zeros(count) for _ in answers),
        "torch.return_types": lambda: torch.zeros(count, 2).max(dim=1),
    }
    return made[kind]()


def function_of(mischief):
    """The model as a plain function."""

    def model(payloads):
        return mischief.serve(payloads)

    return model


class SplittingModel:
    """The model as a `Model`, which splits its results itself."""

    name = "mischief"
    uses_torch = False

    def __init__(self, mischief):
        self._mischief = mischief
        if mischief.setup.has_shapes:
            self.lane_key = self._lane_key

    def _lane_key(self, payload):
        if payload.act == "has no shape":
            raise LookupError("it has no shape")
        return payload.shape

    def make_input(self, rng):
        raise NotImplementedError

    def prepare(self, placement):
        mischief = self._mischief
        mischief.life.sleep(mischief.setup.load_ms)
        if mischief.setup.load_fails:
            raise OSError("the weights are not there")

    def collate(self, payloads, staging):
        return Collated(payloads)

    def run(self, inputs):
        return self._mischief.serve(inputs)

    def split(self, outputs, count):
        return outputs


class TroubledPolicy:
    """A sound policy, some of whose decisions are not.

    Attributes:
        deaths: unsound decisions; a worker that is given one dies.
    """

    def __init__(self, life, setup):
        self._life = life
        self._kind = setup.decision
        first, many = setup.decisions
        self._bad = (first, first + many)
        self._observe_raises = setup.observe_raises
        self._sound = make_policy(
            setup.policy,
            PolicyOptions(
                max_batch_size=setup.max_batch_size,
                batch_timeout_s=setup.batch_timeout_ms / 1e3,
                slo_s=life.slo_ms / 1e3,
            ),
        )
        self._asked = 0
        self.deaths = 0

    def decide(self, now_s, waiting):
        self._asked += 1
        first, end = self._bad
        if self._kind == "sound" or not first <= self._asked - 1 < end:
            return self._sound.decide(now_s, waiting)
        self.deaths += 1
        if self._kind == "stops":
            self._life.stop(drain=True)  # which raises
        if self._kind == "raises":
            raise RuntimeError("undecided")
        lanes = waiting.lanes
        return {
            "None": None,
            "no such lane": Dispatch(len(lanes), 1, "wrong"),
            "lane before the first": Dispatch(-1, 1, "wrong"),
            "too many": Dispatch(0, lanes[0].count + 3, "wrong"),
            "none at all": Dispatch(0, 0, "wrong"),
            "fewer than none": Dispatch(0, -1, "wrong"),
            "waits until nan": Wait(nan),
            "waits until now": Wait(now_s),
            "waits until before": Wait(now_s - 1.0),
        }[self._kind]

    def observe(self, batch):
        if self._observe_raises:
            raise RuntimeError("nothing learnt")
        self._sound.observe(batch)


class TroubledRecorder:
    """Counts arrivals; raises on each if that is its kind."""

    def __init__(self, kind):
        self._kind = kind
        self.recorded = 0

    def record(self, at_s, payload):
        self.recorded += 1
        if self._kind == "raises":
            raise OSError("disk full")


def retry_on(life, kind):
    """What `FaultTolerance.retry_on` is told."""

    def test(error):
        if kind == "test raises":
            raise RuntimeError("no idea")
        if kind == "test exits":
            raise SystemExit("out of the test")
        if kind == "test stops":
            life.stop(drain=True)
        return isinstance(error, ConnectionError)

    return {"nothing": (), "types": (ConnectionError,)}.get(kind, test)
