"""What is searched: for each knob of the batcher a range, or the values it may take.

Where nothing is said, two knobs are searched:

`max_batch_size`, on a logarithmic scale, from 1 to the largest batch that was profiled; of a model
that states its times, whose formula has no end, to 256.

`batch_timeout_ms`, from 0 to the smaller of
    limit - T(1)   with an SLO: who waits longer than that can no longer be answered in time;
    4 T(B)         four times the time of the largest useful batch B: who waits longer for company
                   than for any batch in front of it waits in vain, where device time is no object,
in about 100 steps, so that 0, which is a setting of its own kind, is a value like others, and found
values are readable. Where device time is the object, and so waiting what is bought with, the first
bound alone holds. A knob with a single value is fixed at it. Where engines are searched, each has
batch times of its own: the range is then as wide as the widest of theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf, isfinite, log10
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from bench.errors import InputError
from bench.profiling.service_times import ExactSource, ProfileSource, Source
from bench.settings import BatcherSettings
from bench.tuning.search.engines import (
    CUDAGRAPH,
    Engine,
    EngineSources,
    Setting,
    every_source,
    setting_of,
    sizes_text,
)

if TYPE_CHECKING:
    import optuna

Value = int | float | str
Knobs = Mapping[str, Value]

FORMULA_MAX_BATCH_SIZE = 256
STEPS = 100
USEFUL = 0.98
_WHOLE = ("max_batch_size", "max_queue_size", "replicas", "in_flight")
_TIMES = ("batch_timeout_ms", "min_wait_ms", "deadline_ms")
ENGINE = ("engine", "captured_batch_sizes")
_NAMED = ("policy", *ENGINE)
SEARCHABLE = (*_NAMED, *_WHOLE, *_TIMES)
_LOGARITHMIC = ("max_batch_size", "max_queue_size")
_NEED_SLO = ("adaptive", "deadline")
# What a policy has no use for is not searched for it.
_UNUSED = {"deadline": ("batch_timeout_ms", "min_wait_ms"), "window": ("min_wait_ms",)}


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole numbers from `low` to `high`, perhaps on a logarithmic scale."""

    low: int
    high: int
    log: bool = False

    def suggest(self, trial: "optuna.Trial", name: str, most: float) -> Value:
        """Ask the sampler for one, at most `most`."""
        return trial.suggest_int(name, self.low, int(min(self.high, most)), log=self.log)

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return isinstance(value, int) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Steps:
    """Multiples of `step` from `low` to `high`."""

    low: float
    high: float
    step: float

    def suggest(self, trial: "optuna.Trial", name: str, most: float) -> Value:
        """Ask the sampler for one, at most `most`."""
        steps = floor((min(self.high, most) - self.low) / self.step + 1e-9)
        high = self.low + max(0, steps) * self.step
        return tidy(trial.suggest_float(name, self.low, tidy(high), step=self.step))

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-6

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} by {self.step:g}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The values themselves."""

    values: tuple[Value, ...]

    def suggest(self, trial: "optuna.Trial", name: str, most: float) -> Value:
        """Ask the sampler for one."""
        return cast("Value", trial.suggest_categorical(name, self.values))

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Range = Whole | Steps | Choice


def tidy(value: float) -> float:
    """Without the dust of binary fractions: 0.3 for 0.30000000000000004."""
    return round(value, 9)


@dataclass(frozen=True)
class Space:
    """A range for each knob that is searched; all else is as in `base`.

    Attributes:
        base: the batcher's settings where nothing is searched.
        ranges: by knob, in the order in which the sampler is asked.
        slo_ms: for the policies that cannot do without one.
    """

    base: BatcherSettings
    ranges: Mapping[str, Range]
    slo_ms: float | None = None

    def suggest(self, trial: "optuna.Trial") -> dict[str, Value]:
        """Ask the sampler for a setting; a knob that its policy has no use for is left out."""
        knobs: dict[str, Value] = {}
        for name, knob in self.ranges.items():
            if name in self._unused(knobs):
                continue
            most = inf
            if name == "min_wait_ms":  # never longer than the timeout
                most = float(knobs.get("batch_timeout_ms", self.base.batch_timeout_ms))
            knobs[name] = knob.suggest(trial, name, most)
        return knobs

    def settings(self, knobs: Knobs) -> BatcherSettings:
        """The batcher's settings with these knobs.

        Raises:
            InputError: a value that its knob cannot take.
        """
        values: dict[str, Any] = {**self.base.model_dump(), **knobs}
        if values["policy"] in _NEED_SLO and values["slo_ms"] is None:
            values["slo_ms"] = self.slo_ms
        try:
            return type(self.base).model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
            raise InputError(
                f"search of {first['loc'][0]}: {message}, but got {first['input']!r}"
            ) from None

    def knobs_of(self, settings: BatcherSettings) -> dict[str, Value] | None:
        """The knobs that give these settings; None if the space does not hold them."""
        values = settings.model_dump()
        if (sizes := values.get("captured_batch_sizes")) is not None:
            values["captured_batch_sizes"] = sizes_text(sizes)
        unused = self._unused(values)
        knobs = {name: values[name] for name in self.ranges if name not in unused}
        if not all(self.ranges[name].holds(value) for name, value in knobs.items()):
            return None
        rebuilt = self.settings(knobs).model_dump()
        ignored = {*unused, *knobs, "slo_ms"}
        same = all(rebuilt.get(key) == values[key] for key in values if key not in ignored)
        return knobs if same else None

    def _unused(self, knobs: Knobs) -> tuple[str, ...]:
        """The knobs that a setting has no use for, by its policy and its engine."""
        unused = _UNUSED.get(str(knobs.get("policy", self.base.policy)), ())
        engine = self.base.engine if isinstance(self.base, Setting) else None
        return unused if knobs.get("engine", engine) == CUDAGRAPH else (*unused, ENGINE[1])

    @property
    def size(self) -> float:
        """How many settings there are; those that a policy has no use for counted too."""
        count = 1.0
        for knob in self.ranges.values():
            if isinstance(knob, Whole):
                count *= knob.high - knob.low + 1
            elif isinstance(knob, Steps):
                count *= floor((knob.high - knob.low) / knob.step + 1e-9) + 1
            else:
                count *= len(knob.values)
        return count

    def describe(self) -> dict[str, str]:
        """The ranges in words, by knob."""
        return {name: str(knob) for name, knob in self.ranges.items()}


def make_space(
    texts: Sequence[str],
    base: BatcherSettings,
    source: Source,
    *,
    slo_s: float | None = None,
    patient: bool = False,
) -> Space:
    """The default space, with what `--search` says in its place.

    Args:
        texts: `knob=low:high` or `knob=value,value,...`, one knob each.
        base: settings of the knobs that are not searched.
        source: batch times, for the bounds.
        slo_s: the latency limit of the SLO, if there is one.
        patient: device time is the object, so that requests may be held as long as the SLO allows.

    Raises:
        InputError: a text is none of that, names an unknown knob or one twice, has values that the
            knob cannot take, or the knobs contradict each other.
    """
    ranges = parse_search(texts)
    ranges.setdefault("max_batch_size", Whole(1, largest_batch(source), log=True))
    policies = _policies(ranges, base)
    if any("batch_timeout_ms" not in _UNUSED.get(policy, ()) for policy in policies):
        ranges.setdefault("batch_timeout_ms", default_timeouts(source, slo_s, patient))
    ordered = {name: ranges[name] for name in SEARCHABLE if name in ranges}
    space = Space(base, ordered, None if slo_s is None else slo_s * 1e3)
    _check(space, policies, source)
    return space


def parse_search(texts: Sequence[str]) -> dict[str, Range]:
    """The ranges that `--search` gives, by knob; what needs no batch times is checked.

    Raises:
        InputError: a text cannot be read, or names an unknown knob or one twice.
    """
    ranges: dict[str, Range] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in SEARCHABLE:
            raise InputError(
                f"search must be KNOB=LOW:HIGH or KNOB=VALUE,VALUE with a knob of "
                f"{', '.join(SEARCHABLE)}, but got {text!r}"
            )
        if name in ranges:
            raise InputError(f"search must name each knob once, but {name} is there twice")
        ranges[name] = _range(name, values.strip())
    return ranges


def largest_batch(source: Source) -> int:
    """The largest batch worth asking for."""
    if isinstance(source, ExactSource):
        return min(source.max_batch_size, FORMULA_MAX_BATCH_SIZE)
    return source.max_batch_size


def typical_s(source: Source, size: int) -> float:
    """The time of a batch of that size, seconds: the median of a profile.

    Of several engines, that of the first.
    """
    if isinstance(source, EngineSources):
        return typical_s(source.first, size)
    if isinstance(source, ProfileSource):
        return source.profile.total_s(size)
    service, _ = source.draw(0)
    return sum(service.next(size))


def largest_useful_batch(source: Source, limit_s: float = inf) -> int:
    """B: the smallest batch with 98 % of the highest b/T(b), of those that take `limit_s` at most.

    Beyond it a batch serves hardly more, and its early members wait for the late ones. 1 if no
    batch is that quick.
    """
    sizes = range(1, largest_batch(source) + 1)
    rate_rps = {b: b / t for b in sizes if (t := typical_s(source, b)) <= limit_s}
    if not rate_rps:
        return 1
    enough_rps = USEFUL * max(rate_rps.values())
    return next(b for b in sizes if rate_rps.get(b, 0.0) >= enough_rps)


def default_timeouts(source: Source, slo_s: float | None, patient: bool = False) -> Steps:
    """The timeouts that are searched; see the module's docstring."""
    return _steps(0.0, max(_bound_ms(one, slo_s, patient) for one in every_source(source)))


def _bound_ms(source: Source, slo_s: float | None, patient: bool) -> float:
    """The longest timeout of use with the batch times of one engine."""
    bound_ms = 4e3 * typical_s(source, largest_useful_batch(source))
    room_ms = 0.0 if slo_s is None else 1e3 * (slo_s - typical_s(source, 1))
    if room_ms > 0.0:  # else not even a lone request meets it, and what comes nearest is searched
        bound_ms = room_ms if patient else min(room_ms, bound_ms)
    return bound_ms


def _steps(low: float, high: float) -> Steps:
    """About 100 steps of 1, 2 or 5 times a power of ten, ending at `high` or a step before it."""
    rough = (high - low) / STEPS
    power = 10.0 ** floor(log10(rough))
    step = tidy(power * next(n for n in (1, 2, 5, 10) if n * power >= rough * (1 - 1e-9)))
    return Steps(low, tidy(low + step * floor((high - low) / step + 1e-9)), step)


def _range(name: str, text: str) -> Range:
    """Read "low:high" or "value,value"; a policy may have a colon in it."""
    ends = text.split(":")
    if name in _NAMED or len(ends) == 1:
        values = tuple(dict.fromkeys(_value(name, part) for part in text.split(",")))
        return Choice(values)
    if len(ends) != 2:
        raise InputError(f"search of {name} must be low:high, but got {text!r}")
    low, high = (_value(name, end) for end in ends)
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low <= high):
        raise InputError(f"search of {name} must be low:high with low <= high, but got {text!r}")
    if low == high:
        return Choice((low,))
    if isinstance(low, int) and isinstance(high, int) and name in _WHOLE:
        return Whole(low, high, log=name in _LOGARITHMIC)
    return _steps(float(low), float(high))


def _value(name: str, text: str) -> Value:
    """One value, checked for its knob."""
    text = text.strip()
    value: Value = text
    if name not in _NAMED:
        try:
            value = int(text) if name in _WHOLE else float(text)
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            kind = "whole numbers" if name in _WHOLE else "numbers"
            raise InputError(f"search of {name} must be of {kind}, but got {text!r}")
    elif not text:
        raise InputError(f"search of {name} must have values, but got none")
    base = BatcherSettings()
    if name in ENGINE:
        base = setting_of(base, Engine(CUDAGRAPH))
    Space(base, {}).settings({name: value})
    return value


def _policies(ranges: Mapping[str, Range], base: BatcherSettings) -> tuple[str, ...]:
    named = ranges.get("policy")
    return tuple(map(str, named.values)) if isinstance(named, Choice) else (base.policy,)


def _check(space: Space, policies: Sequence[str], source: Source) -> None:
    """Refuse what no search could make sense of.

    Raises:
        InputError: knobs beyond the profile, without use, or in contradiction.
    """
    ranges, base = space.ranges, space.base
    sizes = ranges["max_batch_size"]
    largest = sizes.high if isinstance(sizes, Whole) else max(sizes.values)  # type: ignore[union-attr]
    if int(largest) > source.max_batch_size:
        raise InputError(
            f"search of max_batch_size must be at most {source.max_batch_size}, the largest batch "
            f"that was profiled, but got {largest}"
        )
    for name in ("batch_timeout_ms", "min_wait_ms"):
        if name in ranges and all(name in _UNUSED.get(policy, ()) for policy in policies):
            raise InputError(
                f"search of {name} must be with a policy that has a use for it, "
                f"but got {', '.join(policies)}"
            )
    if "min_wait_ms" in ranges and not base.preferred_batch_sizes:
        raise InputError(
            "search of min_wait_ms must be with preferred_batch_sizes, without which it makes no "
            "difference, but got none"
        )
    needing = [policy for policy in policies if policy in _NEED_SLO]
    if needing and base.slo_ms is None and space.slo_ms is None:
        raise InputError(f"search of policy {needing[0]} must be with an SLO, but got none")
