"""Writes TOML (v1.0): what `tomllib` reads and the standard library cannot write."""

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(tables: Mapping[str, Any]) -> str:
    """A TOML document of nested mappings, lists, tuples, strings, numbers and booleans.

    `tomllib.loads` gives back an equal document: tuples come back as lists, and a key whose value
    is None is left out, because TOML has no null. Plain keys of a table come before its subtables.

    Raises:
        TypeError: a value of another type.
        ValueError: text that is not Unicode (a lone surrogate).
    """
    return "\n".join(_table((), tables)).strip("\n") + "\n"


def comment(text: str) -> str:
    """The text as TOML comments, whatever is in it."""
    return "".join(f"# {_without_controls(line)}".rstrip() + "\n" for line in text.splitlines())


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> list[str]:
    lines, below = [], []
    for key, value in table.items():
        if isinstance(value, Mapping):
            below += _section(f"[{_dotted((*path, key))}]", (*path, key), value)
        elif _is_array_of_tables(value):
            for item in value:
                below += _section(f"[[{_dotted((*path, key))}]]", (*path, key), item)
        elif value is not None:
            lines.append(f"{_key(key)} = {_value(value)}")
    return lines + below


def _section(heading: str, path: tuple[str, ...], table: Mapping[str, Any]) -> list[str]:
    lines = _table(path, table)
    # A subtable's heading names the table above it too.
    implied = not heading.startswith("[[") and lines[:1] == [""]
    return lines if implied else ["", heading, *lines]


def _is_array_of_tables(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(item, Mapping) for item in value)
    )


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(_key(part) for part in path)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        # Of a subclass, numpy's float64 say, the plain number.
        return repr(int(value) if isinstance(value, int) else float(value))
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"TOML takes strings, numbers, booleans, lists and tables, but got {value!r}")


def _text(text: str) -> str:
    # JSON escapes what a basic string must escape, except for DEL.
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    try:
        quoted.encode()
    except UnicodeEncodeError:
        raise ValueError(f"TOML takes Unicode text only, but got {text!r}") from None
    return quoted


def _without_controls(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line)
