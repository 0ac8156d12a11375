"""JSON as rows of text: JSON lines, arrays of objects, and objects that stand one after another.

A field may lie deeper: `metadata.timestamp_ns`. So may the requests themselves, in arrays:
`experiments[].requests[]`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

import numpy as np

from workloads import schema
from workloads.errors import TraceFileError
from workloads.importers.contract import BadEntryError, Findings
from workloads.importers.rows import Rows
from workloads.importers.stream import Head, Stream

Object: TypeAlias = Mapping[str, Any]

# Deeper and longer than what anyone logs of a request.
_DEEPEST = 8
_MOST_FIELDS = 1000
_ITEMS_TRIED = 3
_SAMPLED = 200
_RECORDS_A_PART = 1 << 16
_PAIRS = re.compile(r'\s*\[\s*\[\s*(-?[\d.]+|"\d{4}-[^"]*")\s*,\s*("[^"]*"|[^\s"\[{,\]]+)\s*\]')


class Entries:
    """The objects in a file: its lines, or the elements of a document.

    Args:
        stream: The file.
        findings: Is told whether entries are lines or records.
        parse: What a line says, where it is not JSON. May raise BadEntryError.

    Raises:
        TraceFileError: A document that is not JSON.
    """

    def __init__(
        self, stream: Stream, findings: Findings, parse: Callable[[bytes], Any] | None = None
    ) -> None:
        self._stream = stream
        self._parse = parse or _parsed
        self._values: list[Any] | None = None
        if parse is None and is_document(stream.head):
            findings.word = "record"
            self._values = _document(stream.everything())

    @property
    def first(self) -> list[Object]:
        """The first of them."""
        if self._values is None:
            return list(self._stream.head.object_lines)
        return [value for value in self._values[:_SAMPLED] if isinstance(value, dict)]

    def rows(
        self,
        wanted: Sequence[str],
        requests: Callable[[Object], Sequence[Object]] = lambda entry: (entry,),
    ) -> Iterator[Rows]:
        """The wanted fields of each request, some at a time; one that lacks is empty.

        Numbers keep the digits that the file gives them.

        Args:
            wanted: The fields, as keys or as dotted paths.
            requests: The requests that an object tells of, where it may be several or none. May
                raise BadEntryError.
        """
        for entries in self._parts():
            texts: dict[str, list[bytes]] = {name: [] for name in wanted}
            numbers: list[int] = []
            complaints: dict[int, str] = {}
            for number, value in entries:
                try:
                    found = requests(_object(value, self._parse))
                except BadEntryError as error:
                    complaints[number] = str(error)
                    continue
                for request in found:
                    numbers.append(number)
                    for name, column in texts.items():
                        column.append(text_of(lookup(request, name)).encode("utf-8", "replace"))
            if numbers or complaints:
                yield _rows(texts, numbers, complaints)

    def _parts(self) -> Iterator[Iterator[tuple[int, Any]]]:
        if self._values is None:
            for block in self._stream.blocks():
                yield block.lines()
            return
        for start in range(0, len(self._values), _RECORDS_A_PART):
            part = self._values[start : start + _RECORDS_A_PART]
            yield iter(enumerate(part, start + 1))


def is_document(head: Head) -> bool:
    """Whether a file is JSON as a whole, not line by line."""
    text = head.text.lstrip()
    if text.startswith("["):
        return text[1:].lstrip()[:1] in {"{", "[", "]", ""}
    return text.startswith("{") and not head.object_lines


def is_pairs(head: Head) -> bool:
    """Whether a file is a list of [time, value], as a series of Prometheus or Grafana is."""
    return _PAIRS.match(head.text) is not None


def lookup(value: Object, name: str) -> Any:
    """The field of that name, or at that dotted path; None if there is none."""
    if name in value or "." not in name:
        return value.get(name)
    at = name.find(".")
    while at >= 0:
        inner = value.get(name[:at])
        if isinstance(inner, dict):
            return lookup(inner, name[at + 1 :])
        at = name.find(".", at + 1)
    return None


def flat(value: Object) -> dict[str, str]:
    """The text of every field, by its dotted path."""
    found: dict[str, str] = {}

    def walk(inner: Object, before: str, depth: int) -> None:
        for key, field in inner.items():
            if isinstance(field, dict) and depth < _DEEPEST:
                walk(field, f"{before}{key}.", depth + 1)
            elif len(found) < _MOST_FIELDS:
                found[f"{before}{key}"] = text_of(field)

    walk(value, "", 0)
    return found


def inner_records(value: Any, before: str = "", depth: int = 0) -> Iterator[tuple[str, Object]]:
    """The path of every array of objects, and the first few of these objects; the outer first."""
    if isinstance(value, dict) and depth < _DEEPEST:
        for key, field in value.items():
            yield from inner_records(field, f"{before}.{key}" if before else key, depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], dict) and depth < _DEEPEST:
        items = [item for item in value[:_ITEMS_TRIED] if isinstance(item, dict)]
        for item in items:
            yield f"{before}[]", item
        for item in items:
            yield from inner_records(item, f"{before}[]", depth + 1)


def at_path(value: Object, path: str) -> list[Object]:
    """The objects in the arrays at a path such as `experiments[].requests[]`.

    Raises:
        BadEntryError: There is something else than objects.
    """
    found: list[Any] = [value]
    for part in path.split("[]")[:-1]:
        name = part.removeprefix(".")
        arrays = [(lookup(item, name) if name else item) or [] for item in found]
        if not all(isinstance(array, list) for array in arrays):
            raise BadEntryError(f"{path} must be arrays, but one is not")
        found = [item for array in arrays for item in array]
        if not all(isinstance(item, dict) for item in found):
            raise BadEntryError(f"{path} must hold objects, but one is not")
    return found


def text_of(value: Any) -> str:
    """A field's value as text; an array of one value is that value."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return ""
    if isinstance(value, (bool, list, dict)):
        return schema.shown(value)
    return str(value)


def _document(raw: bytes) -> list[Any]:
    """The objects of an array, or those that follow each other.

    Raises:
        TraceFileError: It is not JSON.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceFileError(
            f"must be UTF-8 text, but byte {error.start} is 0x{raw[error.start]:02x}"
        ) from None
    decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse)
    values: list[Any] = []
    at, end = 0, len(text.rstrip())
    try:
        while at < end:
            at += len(text[at : at + 4096]) - len(text[at : at + 4096].lstrip())
            if at < end and not text[at].isspace():
                value, at = decoder.raw_decode(text, at)
                values += map(_named, value) if isinstance(value, list) else [value]
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise TraceFileError(f"must be JSON, but at {where}: {error.msg}") from None
    except (ValueError, RecursionError):
        raise TraceFileError("must be JSON with finite numbers, not nested too deeply") from None
    return values


def _named(value: Any) -> Any:
    """The element of a list, with names for a time and a value."""
    is_pair = isinstance(value, list) and len(value) == 2
    return {"time": value[0], "value": value[1]} if is_pair else value


def _rows(texts: dict[str, list[bytes]], numbers: list[int], complaints: dict[int, str]) -> Rows:
    import pyarrow as pa

    columns = {name: pa.array(column, pa.binary()) for name, column in texts.items()}
    return Rows(columns, np.array(numbers, np.int64), complaints)


def _object(entry: Any, parse: Callable[[bytes], Any]) -> Object:
    value = parse(entry) if isinstance(entry, bytes) else entry
    if not isinstance(value, dict):
        kind = "a line" if isinstance(entry, bytes) else "a record"
        raise BadEntryError(f"{kind} must be a JSON object, but is {schema.shown(value)}")
    return value


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"), parse_float=Decimal, parse_constant=_refuse)
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


def _refuse(token: str) -> NoReturn:
    raise ValueError(token)
