"""What a command line asks of a comparison, and whether that is what was begun before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.comparison.arms import make_arms
from bench.errors import InputError
from bench.live.arms import Arm
from bench.settings import TABLES, Settings, absolute
from results.comparison.observation import metric_named
from results.comparison.record import ComparisonRecord


@dataclass(frozen=True, slots=True)
class Request:
    """What a command line asks for; None where it leaves it open.

    Args:
        configs: A config file for each arm that has one.
        inline: The knobs of inline arms, by arm.
        config: Common settings of inline arms.
        options: Shared options, by name.
        draws, margin, metric, exact: Of the plan.
        command: The command line, for the record.
    """

    configs: Sequence[Path]
    inline: dict[str, str]
    config: Path | None
    options: dict[str, Any]
    draws: int | None
    margin: float | None
    metric: str | None
    exact: bool | None
    command: str

    @property
    def names_arms(self) -> bool:
        """Whether it says what the arms are."""
        return bool(self.configs or self.inline)

    def arms(self, note: Callable[[str], None] = lambda _: None) -> list[Arm]:
        """The arms it names; InputError if they are not usable. See `make_arms`."""
        return make_arms(self.configs, self.inline, self.config, self.options, note)


def check_same(record: ComparisonRecord, arms: Sequence[Arm], request: Request) -> None:
    """Check that a request asks for nothing but what was begun; what it leaves open is fine.

    Raises:
        InputError: It differs, and in what.
    """
    asked = {
        "draws": (record.most_draws, request.draws),
        "margin": (record.margin, request.margin),
        "metric": (record.metric, request.metric and metric_named(request.metric).name),
        "exact": (record.exact, request.exact or None),
    }
    wrong = [
        f"{key} was {was!r} and is {now!r}"
        for key, (was, now) in asked.items()
        if now is not None and was != now
    ]
    wrong += _differences(arms, request)
    if wrong:
        raise InputError(
            f"--resume must go on with the settings that were begun with, but {'; '.join(wrong)}"
        )


def _differences(arms: Sequence[Arm], request: Request) -> list[str]:
    """Return in what the arms that are asked for differ from those that were begun with."""
    wrong: list[str] = []
    if request.names_arms:
        again = {arm.name: arm.settings for arm in request.arms()}
        if set(again) != {arm.name for arm in arms}:
            wrong.append(f"there were {len(arms)} arms and are {len(again)}")
        for arm in arms:
            if arm.name in again:
                wrong += [f"{arm.name}: {text}" for text in _fields(arm.settings, again[arm.name])]
        return wrong
    given = {key: value for key, value in request.options.items() if value is not None}
    for arm in arms:
        for name, table in TABLES.items():
            now = {key: given[key] for key in table.model_fields if key in given}
            tables = arm.settings.model_dump()
            tables[name] = {**tables[name], **now}
            wrong += [
                f"{arm.name}: {text}"
                for text in _fields(arm.settings, absolute(Settings.model_validate(tables)))
            ]
    return wrong


def _fields(was: Settings, now: Settings) -> list[str]:
    return [
        f"{key} was {one!r} and is {other!r}"
        for name in TABLES
        for key, one in getattr(was, name).model_dump(mode="json").items()
        if (other := getattr(now, name).model_dump(mode="json")[key]) != one
    ]
