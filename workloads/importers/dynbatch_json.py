"""dynbatch's own trace files: JSON that either describes a process or lists arrivals."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field, StrictFloat, StrictInt, StrictStr

from workloads import described, schema
from workloads.checks import positive
from workloads.errors import TraceError, TraceFileError
from workloads.importers.contract import Importer, Reading
from workloads.importers.stream import Head, Stream
from workloads.specs import DescribedTrace, ListedTrace
from workloads.trace import MOST_TOKENS, Trace

# fail_fast, so that a column of a million wrong entries is one complaint.
Seconds = Annotated[list[StrictFloat], Field(fail_fast=True)]
Lengths = Annotated[list[Annotated[StrictInt, Field(ge=0, le=MOST_TOKENS)]], Field(fail_fast=True)]

# What such a file must have exactly one of.
_FORMS = frozenset({"process", "arrival_s"})


@dataclass(frozen=True)
class _Listing:
    """The fields of a file that lists arrivals; ListedTrace is what becomes of it."""

    arrival_s: Seconds
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    duration_s: StrictFloat | None = None
    name: StrictStr = "recording"
    notes: list[StrictStr] = field(default_factory=list)
    resolution_s: StrictFloat | None = None

    def __post_init__(self) -> None:
        if not self.arrival_s:
            raise TraceError("arrival_s must list at least one arrival, but got []")
        if self.resolution_s is not None:
            positive("resolution_s", self.resolution_s, TraceError)

    def trace(self, path: str) -> Trace:
        """The requests as columns."""
        return Trace(
            arrival_s=np.array(self.arrival_s, dtype=np.float64),
            duration_s=self.arrival_s[-1] if self.duration_s is None else self.duration_s,
            input_tokens=_column(self.input_tokens),
            output_tokens=_column(self.output_tokens),
            name=self.name,
            source={
                "kind": "recording",
                "path": path,
                "format": DynbatchJson.format,
                "notes": self.notes,
                **({} if self.resolution_s is None else {"resolution_s": self.resolution_s}),
            },
        )


def _column(tokens: list[int] | None) -> Any:
    return None if tokens is None else np.array(tokens, dtype=np.int64)


class DynbatchJson(Importer):
    """One JSON object with "process" or "arrival_s"."""

    format = "dynbatch-json"
    what = "dynbatch's own JSON, described or listed"

    def recognises(self, head: Head) -> bool:
        """By one of the two fields that such a file has to have."""
        if head.first_object:
            alone = len(head.lines) == 1 or not head.object_lines
            return alone and bool(_FORMS & head.first_object.keys())
        # Longer than the head, or broken.
        text = head.text
        return text.lstrip().startswith("{") and any(f'"{form}"' in text for form in _FORMS)

    def load(
        self, stream: Stream, reading: Reading, *, name: str, path: str
    ) -> DescribedTrace | ListedTrace:
        """The process or the arrivals; a listed trace comes back bit by bit."""
        raw = stream.everything()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise TraceFileError(
                f"must be UTF-8 text, but byte {error.start} is 0x{raw[error.start]:02x}"
            ) from None
        values = schema.parse(text)
        forms = _FORMS & values.keys()
        if len(forms) != 1:
            raise TraceFileError(
                'must have either "process", to describe arrivals, or "arrival_s", to list them, '
                f"but has {'both' if forms else 'neither'}"
            )
        named = {"name": name} | values
        return described.parse(named) if forms == {"process"} else _listed(named, path)


def _listed(values: dict[str, Any], path: str) -> ListedTrace:
    schema.check_known(values, schema.field_names(_Listing))
    listing = schema.build(_Listing, values)
    return ListedTrace(listing.trace(path), DynbatchJson.format, tuple(listing.notes))
