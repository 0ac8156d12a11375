"""JSON lines as rows of text: an object a line, of which a few fields are wanted."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

import numpy as np

from workloads import schema
from workloads.importers.contract import BadEntryError
from workloads.importers.rows import Rows
from workloads.importers.stream import Stream

Object: TypeAlias = Mapping[str, Any]


def read_rows(
    stream: Stream,
    wanted: Sequence[str],
    requests: Callable[[Object], Sequence[Object]] = lambda line: (line,),
) -> Iterator[Rows]:
    """The wanted fields of each object, a block of lines at a time; one that lacks is empty.

    Numbers keep the digits that the file gives them.

    Args:
        stream: The file.
        wanted: The fields.
        requests: The requests that a line's object tells of, where it may be several. May raise
            BadEntryError.
    """
    for block in stream.blocks():
        texts: dict[str, list[bytes]] = {name: [] for name in wanted}
        numbers: list[int] = []
        complaints: dict[int, str] = {}
        for number, line in block.lines():
            try:
                found = requests(_object(line))
            except BadEntryError as error:
                complaints[number] = str(error)
                continue
            for request in found:
                numbers.append(number)
                for name, column in texts.items():
                    column.append(_text(request.get(name)))
        if numbers or complaints:
            yield _rows(texts, numbers, complaints)


def _rows(texts: dict[str, list[bytes]], numbers: list[int], complaints: dict[int, str]) -> Rows:
    import pyarrow as pa

    columns = {name: pa.array(column, pa.binary()) for name, column in texts.items()}
    return Rows(columns, np.array(numbers, np.int64), complaints)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"), parse_float=Decimal, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise BadEntryError(
            f"a line must be UTF-8 text, but byte {error.start} is 0x{line[error.start]:02x}"
        ) from None
    except json.JSONDecodeError as error:
        raise BadEntryError(
            f"a line must be a JSON object, but at column {error.colno}: {error.msg}"
        ) from None
    except (ValueError, RecursionError):
        raise BadEntryError("a line must be a flat JSON object with finite numbers") from None
    if not isinstance(value, dict):
        raise BadEntryError(f"a line must be a JSON object, but is {schema.shown(value)}")
    return value


def _refuse(token: str) -> NoReturn:
    raise ValueError(token)


def _text(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, (bool, list, dict)):
        return schema.shown(value).encode()
    # A surrogate that JSON escaped is no text, so it cannot be a number or a time either.
    return str(value).encode("utf-8", "replace")
