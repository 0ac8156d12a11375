"""Lives of a batcher: how it is made, and what is done to it, step by step.

A life is plain data, so that the same one runs in virtual and in real time, shrinks to the few
steps that matter, and reads well when it fails. What is called *trouble* is switched on for a few
kinds at a time (swarm testing): a life with every kind of trouble in it hides most of them.
"""

from dataclasses import dataclass, fields
from functools import cache
from itertools import chain
from math import inf

from hypothesis import strategies as st

# What a model does to a batch in which such a payload is; the first of a batch decides.
RAISING = ("poison", "exit", "interrupt")
MEMORY = ("too large alone", "too large together")
TRANSIENT = ("fails once", "fails twice")
SLOW = ("slow", "hangs")
NESTED = ("submits", "submits and waits", "stops")
WRONG = (
    "too few",
    "too many",
    "None",
    "generator",
    "iterator that raises",
    "iterator that ends early",
    "iterator that goes on",
    "dict",
    "string",
)
# From a plain function only: a model that splits for itself knows what it returns.
WRONG_OF_FUNCTIONS = (
    "set",
    "namedtuple",
    "square DataFrame",
    "other DataFrame",
    "tuple of tensors",
    "torch.return_types",
)
CALLBACKS = ("raises", "exits", "stops", "cuts", "submits", "cancels", "counts", "adds", "results")
OBSERVERS = ("raises", "exits", "stops", "submits", "cancels", "counts")
RETRY_ON = ("test raises", "test stops", "test exits", "types", "test")
DECISIONS = (
    "raises",
    "stops",
    "None",
    "no such lane",
    "lane before the first",
    "too many",
    "none at all",
    "fewer than none",
    "waits until nan",
    "waits until now",
    "waits until before",
)

TROUBLE = (
    "early",
    "stops",
    "deadlines",
    "shapes",
    "queue limit",
    "callbacks",
    "observers",
    "recorders",
    "raising models",
    "memory",
    "retries",
    "wrong results",
    "hangs",
    "deaths",
    "nested",
    "floods",
    "bad arguments",
    "loading",
)


@dataclass(frozen=True)
class Setup:
    """How the batcher is made; what is in `DynamicBatcher` too is called as it is there."""

    policy: str = "timeout"
    max_batch_size: int = 4
    batch_timeout_ms: float = 2.0
    max_queue_size: int | None = None
    deadline_ms: float | None = None
    max_starvation_ms: float = 20.0
    replicas: int = 1
    in_flight: int = 1
    max_retries: int = 0
    retry_on: str = "nothing"
    isolate: bool = True
    execute_timeout_ms: float | None = None
    batch_ms: float = 5.0
    has_shapes: bool = False
    is_function: bool = True
    load_ms: float = 0.0
    load_fails: bool = False
    observer: str = "quiet"
    recorder: str = "quiet"
    decision: str = "sound"
    decisions: tuple[int, float] = (0, 0)  # from which one on, and how many
    observe_raises: bool = False

    def __repr__(self) -> str:
        return _without_defaults(self)


@dataclass(frozen=True)
class Start:
    """`start()`, in a thread of its own if `aside`."""

    aside: bool = False

    def __repr__(self) -> str:
        return _without_defaults(self)


@dataclass(frozen=True)
class Stop:
    """`stop(drain=drain)`, in a thread of its own if `aside`."""

    drain: bool = True
    aside: bool = True

    def __repr__(self) -> str:
        return _without_defaults(self)


@dataclass(frozen=True)
class Submit:
    """One request: `way` is "submit", "future" (with a loop) or "await" (`add_request`)."""

    act: str = "fine"
    way: str = "submit"
    priority: int = 0
    shape: int = 0
    deadline_ms: float | None = None
    callback: str = "none"
    bad: str = ""

    def __repr__(self) -> str:
        return _without_defaults(self)


@dataclass(frozen=True)
class Flood:
    """Many harmless requests, faster than most setups serve them, from a thread of its own."""

    count: int
    priority: int = 0
    shape: int = 0
    distinct: bool = False  # each in a lane of its own


@dataclass(frozen=True)
class Cancel:
    """Cancel the request `back` before the latest; its caller, if that awaits it."""

    back: int = 0


@dataclass(frozen=True)
class Sleep:
    """Let time pass."""

    ms: float


Step = Start | Stop | Submit | Flood | Cancel | Sleep


@dataclass(frozen=True)
class Scenario:
    """A life; `ending` is "settle" (all must end before it is stopped), "drain" or "cut"."""

    setup: Setup
    steps: tuple[Step, ...]
    ending: str = "settle"

    def __str__(self) -> str:
        steps = "".join(f"        {step},\n" for step in self.steps)
        return f"Scenario(\n    {self.setup},\n    (\n{steps}    ),\n    {self.ending!r},\n)"


def _without_defaults(thing) -> str:
    parts = [
        f"{field.name}={getattr(thing, field.name)!r}"
        for field in fields(thing)
        if getattr(thing, field.name) != field.default
    ]
    return f"{type(thing).__name__}({', '.join(parts)})"


# Strategies are made once: to make one takes longer than to draw from it.
@cache
def _or(usual, *others, when=True):
    """The usual value or, where that trouble is on, perhaps one of the others."""
    return st.sampled_from([usual, *others]) if when else st.just(usual)


@cache
def _one_of(usual, others, *, when):
    """One of these where that trouble is on, else the usual value."""
    return st.sampled_from(others) if when else st.just(usual)


@st.composite
def setups(draw, trouble):
    shapes = "shapes" in trouble
    loads = "loading" in trouble
    first, many = draw(st.integers(0, 4)), draw(st.sampled_from([1, 2, 4, 6, inf]))
    decides = "deaths" in trouble
    return Setup(
        policy=draw(st.sampled_from(["timeout", "window", "adaptive", "deadline"])),
        max_batch_size=draw(_or(4, 1, 2, 8)),
        batch_timeout_ms=draw(_or(2.0, 0.0, 8.0)),
        max_queue_size=draw(_or(None, 1, 3, 8, when="queue limit" in trouble)),
        deadline_ms=draw(_or(None, 4.0, 30.0, when="deadlines" in trouble)),
        max_starvation_ms=draw(_or(20.0, 5.0)),
        replicas=draw(_or(1, 2)),
        in_flight=draw(_or(1, 2)),
        max_retries=draw(_or(0, 1, 3, when="retries" in trouble)),
        retry_on=draw(_one_of("nothing", RETRY_ON, when="retries" in trouble)),
        isolate=draw(_or(True, False)),
        execute_timeout_ms=draw(_or(None, 50.0, when="hangs" in trouble)),
        batch_ms=draw(_or(5.0, 0.0, 1.0, when="floods" not in trouble)),
        has_shapes=shapes,
        is_function=not shapes and not loads and draw(st.booleans()),
        load_ms=draw(_or(0.0, 6.0, when=loads)),
        load_fails=loads and draw(st.booleans()),
        observer=draw(_one_of("quiet", OBSERVERS, when="observers" in trouble)),
        recorder="raises" if "recorders" in trouble else "quiet",
        decision=draw(_one_of("sound", DECISIONS, when=decides)),
        decisions=(first, many) if decides else (0, 0),
        observe_raises=decides and draw(st.booleans()),
    )


def _acts(trouble, is_function):
    acts = ["fine"]
    for kind, of_kind in (
        ("raising models", RAISING),
        ("memory", MEMORY),
        ("retries", TRANSIENT),
        ("wrong results", WRONG),
        ("wrong results", WRONG_OF_FUNCTIONS if is_function else ()),
        ("hangs", SLOW),
        ("nested", NESTED),
        ("shapes", ("has no shape",)),
    ):
        if kind in trouble:
            acts += of_kind
    # Half of them harmless, or nearly every batch would be in trouble.
    return st.sampled_from(["fine"] * max(1, len(acts) - 1) + acts[1:])


@cache
def _phrases(trouble, has_shapes, is_function):
    """Lists of lists of steps, because lists alone are short; a kind comes as often as named."""
    priorities = st.sampled_from([0, 1, 2])
    shapes = st.sampled_from([0, 1, 2]) if has_shapes else st.just(0)
    submit = st.builds(
        Submit,
        act=_acts(trouble, is_function),
        way=st.sampled_from(["submit", "await", "future"]),
        priority=priorities,
        shape=shapes,
        deadline_ms=_or(None, 1.0, 6.0, 50.0, when="deadlines" in trouble),
        callback=_or("none", "none", "none", *CALLBACKS, when="callbacks" in trouble),
        bad=_or("", "", "", "priority", "deadline", when="bad arguments" in trouble),
    )
    sleep = st.builds(Sleep, st.sampled_from([1.0, 3.0, 10.0, 40.0]))
    kinds = [submit] * 6 + [sleep] * 2 + [st.builds(Cancel, st.integers(0, 5))]
    if "stops" in trouble:
        kinds += [st.builds(Stop, st.booleans(), st.booleans()), st.builds(Start)]
    if "floods" in trouble:
        distinct = st.sampled_from([False, False, False, True])
        flood = st.builds(Flood, st.sampled_from([10, 80]), priorities, shapes, distinct)
        kinds += [flood] * 2
    # `one_of` would take each kind for equally likely.
    step = st.integers(0, len(kinds) - 1).flatmap(kinds.__getitem__)
    return st.lists(st.lists(step, min_size=1, max_size=10), min_size=1, max_size=6)


@cache
def _before(trouble):
    """What may come before the start that most lives begin with."""
    if "early" not in trouble:
        return st.just([])
    submit = st.builds(Submit, deadline_ms=st.sampled_from([None, 6.0, 50.0]))
    stop = st.builds(Stop, st.booleans(), st.booleans())
    aside = st.just(Start(aside=True))
    return st.lists(st.one_of(submit, submit, submit, aside, stop), min_size=1, max_size=2)


@cache
def _some(among):
    return st.sets(st.sampled_from(among), max_size=min(4, len(among)))


@st.composite
def scenarios(draw, trouble, among=TROUBLE):
    """Lives with that kind of trouble, and a few of the others."""
    trouble = frozenset({trouble, *draw(_some(among))})
    setup = draw(setups(trouble))
    phrases = draw(_phrases(trouble, setup.has_shapes, setup.is_function))
    steps = [*draw(_before(trouble)), Start(), *chain.from_iterable(phrases)]
    return Scenario(setup, tuple(steps), draw(_or("settle", "drain", "cut")))
