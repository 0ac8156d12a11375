"""The servers by name, and what every export says besides the setting itself."""

import textwrap
from dataclasses import dataclass

from batching.versions import own_version
from bench.errors import InputError
from bench.export import (
    bentoml,
    dynbatch,
    litserve,
    ray_serve,
    torchserve,
    triton,
)
from bench.export.contract import Target, on_this_machine
from bench.settings import BatcherSettings, ModelSettings, Settings
from results.toml import comment

TARGETS: dict[str, Target] = {
    module.TARGET.name: module.TARGET
    for module in (triton, ray_serve, litserve, bentoml, torchserve, dynbatch)
}

_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Exported:
    """A file for a server.

    Attributes:
        text: the whole file.
        warnings: what of the setting it does not carry, or carries with another meaning.
    """

    text: str
    warnings: tuple[str, ...]


def export(settings: Settings, to: str, source: str) -> Exported:
    """The setting as a file for one server.

    Args:
        settings: the setting; its `[model]` and `[batcher]` count. A device that is "auto" is
            exported as the one that it is on this machine.
        to: a key of `TARGETS`.
        source: where the setting comes from, for the comment on top.

    Raises:
        InputError: no such server, or it cannot take a value.
    """
    if to not in TARGETS:
        raise InputError(f"--to must be one of {', '.join(TARGETS)}, but got {to!r}")
    target = TARGETS[to]
    settings, pinned = on_this_machine(settings)
    rendered = target.render(settings)
    warnings = (*pinned, *_left_out(settings.batcher, target), *rendered.remarks)
    return Exported(_header(settings, target, source, warnings) + rendered.body, warnings)


def _left_out(batcher: BatcherSettings, target: Target) -> list[str]:
    """One line for every knob that is set and has no counterpart."""
    lines = []
    if batcher.policy != "timeout" and "policy" not in target.carries:
        lines.append(
            f"policy={batcher.policy} has no counterpart in {target.server}: what is exported is a "
            f"batch size and a delay, and what was measured with the policy does not hold for them"
        )
    for key, field in BatcherSettings.model_fields.items():
        value = getattr(batcher, key)
        if key != "policy" and key not in target.carries and value != field.get_default():
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            lines.append(f"{key}={shown} has no counterpart in {target.server} and is left out")
    return lines


def _header(settings: Settings, target: Target, source: str, warnings: tuple[str, ...]) -> str:
    lines = [
        f"{source}, exported by dynbatch {own_version()} for {target.server}.",
        f"For {', '.join(_known(settings.model))}.",
    ]
    if target.semantics:
        lines += ["", "Where that differs from the batcher that was measured:"]
        lines += [f"- {sentence}" for sentence in target.semantics]
    if warnings:
        lines += ["", "Of this setting:"]
        lines += [f"- {sentence}" for sentence in warnings]
    return "".join(_wrapped(" ".join(line.split())) for line in lines) + "\n"


def _known(model: ModelSettings) -> list[str]:
    """What the setting is for, as far as the file says: a default is nobody's word."""
    said = {key for key in ("model", "dtype", "engine") if key in model.model_fields_set}
    keys = ("model", "device", "dtype", "engine")
    return [f"{key} {getattr(model, key)}" for key in keys if key in {"device", *said}]


def _wrapped(line: str) -> str:
    if not line:
        return "#\n"
    hanging = "  " if line.startswith("- ") else ""
    return comment(
        textwrap.fill(
            line,
            _WIDTH,
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
