"""The arms of a comparison: what they are called, and the settings of each."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from bench.errors import InputError
from bench.live.arms import SHARED_MODEL, Arm
from bench.settings import (
    READING,
    TABLES,
    BatcherSettings,
    Settings,
    absolute,
    load_settings,
)

MOST_ARMS = len(ascii_lowercase)
_ITEM = re.compile(r"\s*([^=\s]+)\s*=(.*)", re.DOTALL)
# What arrives and what judges, in parts that mean nothing without each other. All arms get each
# part from the command line, or from the first arm that says anything of it.
_SHARED_PARTS = (
    ("replay", ("trace", *READING)),
    ("replay", ("rate", "utilization")),
    ("slo", ("slo",)),
)


def make_arms(
    configs: Sequence[Path],
    inline: Mapping[str, str],
    config: Path | None,
    given: dict[str, Any],
    note: Callable[[str], None] = lambda _: None,
) -> list[Arm]:
    """Return the arms: config files are A, B, ... in their order, inline ones the letter they have.

    Args:
        configs: A TOML file for each arm that has one; options given on the command line win.
        inline: By arm, the knobs in which it differs from the common settings, as
            "max_batch_size=32,batch_timeout_ms=5"; they win over everything.
        config: A TOML file with the common settings of inline arms.
        given: Options of the command line, None where not given.
        note: Told what of an arm's file is left aside, because all arms share it.

    Raises:
        InputError: Something in a file or knob is not usable, arms are missing or doubled, or they
            are of different models.
    """
    arms: dict[str, Arm] = {}
    for name, path in zip(ascii_lowercase, configs, strict=False):
        arms[name] = Arm(name, absolute(load_settings(path, given)))
    if inline:
        load_settings(config, given)  # a fault in the common settings is no arm's
    for name, text in inline.items():
        if name in arms:
            raise InputError(
                f"arm {name} must be given once, but got {configs[ord(name) - ord('a')]} "
                f"and --{name} {text}"
            )
        knobs = _parsed(name, text)
        try:
            arms[name] = Arm(name, absolute(load_settings(config, {**given, **knobs})))
        except InputError as error:
            raise InputError(f"--{name}: {error}") from None
    if len(arms) < 2:
        raise InputError(
            "arms must be at least two (config files, run folders, or --a and --b), "
            f"but got {len(arms)}"
        )
    expected = ascii_lowercase[: len(arms)]
    if "".join(sorted(arms)) != expected:
        raise InputError(f"arms must be {', '.join(expected)}, but got {', '.join(sorted(arms))}")
    return share([arms[name] for name in expected], note)


def _parsed(name: str, text: str) -> dict[str, Any]:
    """Read "key=value,key=value"; a part without "=" goes on the list before it: sizes=2,4."""
    pairs: list[tuple[str, list[str]]] = []
    for part in text.split(","):
        item = _ITEM.fullmatch(part)
        if item:
            pairs.append((item[1], [item[2].strip()]))
        elif pairs and part.strip():
            pairs[-1][1].append(part.strip())
        else:
            raise InputError(f"--{name} must be key=value,key=value, but got {text!r}")
    knobs: dict[str, Any] = {}
    for key, values in pairs:
        if key not in BatcherSettings.model_fields:
            known = ", ".join(BatcherSettings.model_fields)
            raise InputError(f"--{name} takes {known}, but got {key!r}")
        if key in knobs:
            raise InputError(f"--{name} must give {key} once, but got {text!r}")
        typed = [_typed(value) for value in values]
        is_list = "tuple" in str(BatcherSettings.model_fields[key].annotation)
        if len(typed) > 1 and not is_list:
            raise InputError(f"--{name}: {key} must be one value, but got {','.join(values)!r}")
        knobs[key] = typed if is_list else typed[0]
    return knobs


def _typed(text: str) -> Any:
    """A number where TOML sees one, text otherwise: what the same key means in a file."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def share(arms: Sequence[Arm], note: Callable[[str], None]) -> list[Arm]:
    """The arms under the same arrivals and the same SLO, on the same device unless they say not.

    Args:
        arms: As their files and the command line say.
        note: Told what is left aside.

    Raises:
        InputError: They say different models or weights.
    """
    for key in SHARED_MODEL:
        said = {arm.name: getattr(arm.settings.model, key) for arm in _saying(arms, "model", key)}
        if len(set(map(str, said.values()))) > 1:
            one, another = list(said)[:2]
            raise InputError(
                f"arms must share {key}, but got {str(said[one])!r} in {one} and "
                f"{str(said[another])!r} in {another}: --{key} gives all the same, or compare the "
                "folders of two runs (dynbatch bench)"
            )
    for arm in arms:
        if arm.settings.slo.until_decided:
            note(
                f"{arm.name.upper()}: until_decided is left aside: the runs that are compared are "
                "of one length (--duration), and as many as it takes (--draws)"
            )
    shared: dict[str, dict[str, Any]] = {
        "replay": {},
        "slo": {"until_decided": False, "max_duration": None},
    }
    for table, keys in _parts():
        owner = next(iter(_saying(arms, table, *keys)), arms[0])
        values = {key: getattr(getattr(owner.settings, table), key) for key in keys}
        shared[table] |= values
        for arm in _saying(arms, table, *keys):
            for text in _left_aside(getattr(arm.settings, table), values):
                options = " or ".join(f"--{key.replace('_', '-')}" for key in keys[:2])
                note(
                    f"{arm.name.upper()}: {text} is left aside for that of "
                    f"{owner.name.upper()}: all arms share it ({options} gives another)"
                )
    return [replace(arm, settings=_sharing(arm.settings, arms, shared)) for arm in arms]


def _parts() -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is shared: the parts, then every other key of the replay by itself."""
    yield from _SHARED_PARTS
    inside = {key for _, keys in _SHARED_PARTS for key in keys}
    for key in TABLES["replay"].model_fields:
        if key not in inside:
            yield "replay", (key,)


def _saying(arms: Sequence[Arm], table: str, *keys: str) -> list[Arm]:
    """The arms that say something of one of these keys."""
    return [arm for arm in arms if getattr(arm.settings, table).model_fields_set & {*keys}]


def _left_aside(table: Any, values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        its = getattr(table, key)
        if its != value and its not in (None, ()):
            yield f"{key} {', '.join(its) if isinstance(its, tuple) else its}"


def _sharing(settings: Settings, arms: Sequence[Arm], shared: dict[str, Any]) -> Settings:
    """The settings with what is shared; a device that is left open is that of the others."""
    model = {}
    for key in (*SHARED_MODEL, "device"):
        owner = next(iter(_saying(arms, "model", key)), None)
        if owner is not None and key not in settings.model.model_fields_set:
            model[key] = getattr(owner.settings.model, key)
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update=model),
            **{
                name: getattr(settings, name).model_copy(update=values)
                for name, values in shared.items()
            },
        }
    )
