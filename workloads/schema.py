"""From JSON to dataclasses: strict about types, and every complaint is one line."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from workloads.errors import TraceFileError

T = TypeVar("T")

SHOWN_CHARS = 60


def parse(text: str) -> dict[str, Any]:
    """The JSON object in `text`.

    Raises:
        TraceFileError: No JSON, another JSON value, or NaN and Infinity, which Python would
            let pass.
    """
    try:
        value = json.loads(text, parse_constant=_not_a_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise TraceFileError(f"must be JSON, but at {where}: {error.msg}") from None
    except TraceFileError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise TraceFileError(f"must be JSON with numbers in reach, but got: {error}") from None
    except RecursionError:
        raise TraceFileError("must be a flat JSON object, but is nested too deeply") from None
    if not isinstance(value, dict):
        raise TraceFileError(f"must be a JSON object, but got {shown(value)}")
    return value


def build(form: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the dataclass `form` from its fields as JSON gave them.

    Raises:
        TraceFileError: A field is missing or of another type, or the dataclass refused it.
    """
    try:
        return TypeAdapter(form).validate_python(values)
    except ValidationError as error:
        raise TraceFileError(one_line(error)) from None


def field_names(form: Any) -> set[str]:
    """The fields that `form`, a dataclass, takes."""
    return {field.name for field in dataclasses.fields(form)}


def check_known(values: Mapping[str, Any], known: set[str]) -> None:
    """Raise TraceFileError for a field of a file that is not among those known."""
    for key in values:
        if key not in known:
            expected = ", ".join(sorted(known))
            raise TraceFileError(f"fields must be among {expected}, but got {shown(key)}")


def one_line(error: ValidationError) -> str:
    """Every complaint of pydantic's, with its field and value, joined into one line."""
    return "; ".join(_complaint(details) for details in error.errors(include_url=False))


def shown(value: object) -> str:
    """`value` as JSON on one short line; of a list or an object, just what it is."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    text = json.dumps(value, default=repr)
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 3]}..."


def _complaint(details: Any) -> str:
    name = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"]
    ).lstrip(".")
    if details["type"] == "missing":
        return f"{name} is required"
    if details["type"] == "value_error":
        # Raised by the dataclass itself, which already says what was expected and what came.
        return str(details["ctx"]["error"])
    rule = details["msg"].replace("Input should be", "must be")
    return f"{name} {rule}, but got {shown(details['input'])}"


def _not_a_number(token: str) -> NoReturn:
    raise TraceFileError(f"must hold finite numbers only, but got {token}")
