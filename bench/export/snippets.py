"""What the exports in Python have in common."""

import json
from string import Template
from typing import Any

# Every snippet gets its model in this way; it is the one line to be changed.
LOAD = (
    "from my_model import load  # yours: load(device) gives a function of a list of payloads\n"
    "#                            that returns as many results in the same order"
)


def filled(template: str, **values: object) -> str:
    """The template with every `$name` replaced.

    Raises:
        KeyError: one has no value.
    """
    return Template(template).substitute(values)


def literal(value: Any) -> str:
    """The value as Python source, strings in double quotes."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)
