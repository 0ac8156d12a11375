"""The arms of a comparison: what they are called, and the settings of each."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from bench.config import BatcherSettings, ModelSettings, Settings, load_settings
from bench.errors import InputError

MOST_ARMS = len(ascii_lowercase)
_ITEM = re.compile(r"\s*([^=\s]+)\s*=(.*)", re.DOTALL)
# What must be one for all arms: another model or other arrivals answer another question.
_SHARED_MODEL = ("model", "weights")


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm.

    Args:
        name: "a" for the control, then "b", "c", ...; the name of its folders too.
        settings: Everything that decides its runs.
    """

    name: str
    settings: Settings

    @property
    def label(self) -> str:
        """What it is, in short: timeout 32 / 10 ms, in_flight 2."""
        batcher, model = self.settings.batcher, self.settings.model
        said = f"{batcher.policy} {batcher.max_batch_size} / {batcher.batch_timeout_ms:g} ms"
        named = {"policy", "max_batch_size", "batch_timeout_ms"}
        further = [
            *_changed(batcher, BatcherSettings(), named),
            *_changed(model, ModelSettings(), {*_SHARED_MODEL}),
        ]
        return ", ".join([said, *further])


def _changed(
    table: BatcherSettings | ModelSettings,
    default: BatcherSettings | ModelSettings,
    named: set[str],
) -> list[str]:
    values, usual = table.model_dump(mode="json"), default.model_dump(mode="json")
    return [
        f"{key} {'/'.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in values.items()
        if key not in named and value != usual[key]
    ]


def make_arms(
    configs: Sequence[Path], inline: Mapping[str, str], config: Path | None, given: dict[str, Any]
) -> list[Arm]:
    """Return the arms: config files are A, B, ... in their order, inline ones the letter they have.

    Args:
        configs: A TOML file for each arm that has one; options given on the command line win.
        inline: By arm, the knobs in which it differs from the common settings, as
            "max_batch_size=32,batch_timeout_ms=5"; they win over everything.
        config: A TOML file with the common settings of inline arms.
        given: Options of the command line, None where not given.

    Raises:
        InputError: Something in a file or knob is not usable, arms are missing or doubled, or they
            differ in what they must share.
    """
    arms: dict[str, Arm] = {}
    for name, path in zip(ascii_lowercase, configs, strict=False):
        arms[name] = Arm(name, load_settings(path, given))
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
            arms[name] = Arm(name, load_settings(config, {**given, **knobs}))
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
    ordered = [arms[name] for name in expected]
    check_comparable(ordered)
    return ordered


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


def check_comparable(arms: Sequence[Arm]) -> None:
    """Check that arms differ in nothing that they must share.

    Raises:
        InputError: They differ in the model, its weights, what arrives or what judges them, or
            are to run until an SLO is decided, which arms of one length cannot.
    """
    first = arms[0]
    if first.settings.slo.until_decided:
        raise InputError("until_decided must be left out of a comparison, but got true")
    for other in arms[1:]:
        ours, theirs = first.settings, other.settings
        shared = [
            *((key, getattr(ours.model, key), getattr(theirs.model, key)) for key in _SHARED_MODEL),
            *(
                (key, getattr(one, key), getattr(another, key))
                for one, another in ((ours.replay, theirs.replay), (ours.slo, theirs.slo))
                for key in type(one).model_fields
            ),
        ]
        for key, one, another in shared:
            if one != another:
                raise InputError(
                    f"arms must share {key}, but got {one!r} in {first.name} "
                    f"and {another!r} in {other.name}"
                )
