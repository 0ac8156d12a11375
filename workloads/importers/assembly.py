"""From a recording's chunks to a trace: from the first arrival on, in order, with notes."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workloads.errors import TraceFileError
from workloads.importers.contract import MISSING, Chunk, Findings, Importer, Reading
from workloads.importers.stream import Stream
from workloads.specs import ListedTrace
from workloads.trace import Trace

_NS = 10**9
# From this share on, requests that arrive at the same instant are worth a note.
_TIES_WORTH_A_NOTE = 0.01


def assemble(
    chunks: Iterator[Chunk],
    findings: Findings,
    format_: str,
    *,
    name: str,
    path: str,
) -> ListedTrace:
    """The requests of all chunks as one trace that starts at 0.

    The start is the first arrival and the end the last, unless the importer knows the window
    that was recorded. It is subtracted in integers: nothing of an epoch's digits is lost.

    Raises:
        TraceFileError: There are no requests, or they lie further apart than 292 years.
    """
    parts = list(chunks)
    count = sum(len(part.time_ns) for part in parts)
    if not count:
        left = "but holds none"
        if findings.bad:
            left = f"but all {findings.bad:,} {findings.word}s are bad"
        elif findings.chosen and findings.read:
            left = f"but none of its {findings.read:,} rows has {findings.chosen}"
        raise TraceFileError(f"must hold at least one request, {left}")
    findings.summarise(count)
    time_ns = np.concatenate([part.time_ns for part in parts])
    input_tokens = _tokens([part.input_tokens for part in parts], "input", findings)
    output_tokens = _tokens([part.output_tokens for part in parts], "output", findings)
    del parts
    order = _order(time_ns, findings)
    if order is not None:
        time_ns = time_ns[order]
        input_tokens = None if input_tokens is None else input_tokens[order]
        output_tokens = None if output_tokens is None else output_tokens[order]
    start_ns, end_ns = findings.window_ns or (int(time_ns[0]), int(time_ns[-1]))
    if end_ns - start_ns >= 2**63:
        raise TraceFileError(
            f"requests must lie within 292 years, but span {(end_ns - start_ns) / _NS:.3g} s"
        )
    time_ns -= start_ns
    _note_ties(time_ns, findings)
    step_ns = findings.resolution_ns
    return ListedTrace(
        Trace(
            arrival_s=time_ns / _NS,
            # In the arithmetic of the column: Python's own division may round the other way.
            duration_s=float(np.float64(end_ns - start_ns) / _NS),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            name=name,
            source={
                "kind": "recording",
                "path": path,
                "format": format_,
                "notes": list(findings.notes),
                **({} if step_ns is None else {"resolution_s": step_ns / _NS}),
            },
        ),
        format=format_,
        notes=tuple(findings.notes),
    )


def _tokens(
    parts: list[NDArray[np.int64] | None], which: str, findings: Findings
) -> NDArray[np.int32] | None:
    given = [part for part in parts if part is not None]
    if not given:
        return None
    counts = np.concatenate(given)
    missing = int((counts == MISSING).sum())
    if missing == len(counts):
        return None
    if missing:
        findings.note(
            f"{which} tokens are missing for {missing:,} of {len(counts):,} requests, "
            "so none were kept"
        )
        return None
    return counts.astype(np.int32)


def _order(time_ns: NDArray[np.int64], findings: Findings) -> NDArray[np.intp] | None:
    """What sorts the times, or None if they are sorted; equal ones stay as they were."""
    early = int((time_ns[1:] < time_ns[:-1]).sum())
    if not early:
        return None
    findings.note(
        f"the recording was not in order of arrival and has been sorted: {early:,} of "
        f"{len(time_ns):,} requests came before the one listed ahead of them"
    )
    return np.argsort(time_ns, kind="stable")


def _note_ties(time_ns: NDArray[np.int64], findings: Findings) -> None:
    """Say so where a coarse clock makes requests arrive at once that did not."""
    stamps_ns = np.sort(np.concatenate(findings.stamps_ns)) if findings.stamps_ns else time_ns
    gaps_ns = np.diff(stamps_ns)
    ties = int((gaps_ns == 0).sum())
    if ties < _TIES_WORTH_A_NOTE * len(time_ns) or findings.resolution_ns is not None:
        return
    step_ns = int(np.gcd.reduce(gaps_ns))
    if not step_ns:
        findings.note(
            f"{ties:,} of {len(time_ns):,} requests arrive at the very instant of the one before: "
            "what lay between them was not recorded"
        )
        return
    findings.resolution_ns = step_ns
    step = f"{step_ns / _NS:.12g} s"
    if findings.stamps_ns:
        findings.note(
            f"stamps are in steps of {step}, and {ties:,} of {len(time_ns):,} requests have that "
            "of another: less their durations they lie apart, but not as they came, so nothing is "
            f"known of bursts shorter than {step}"
        )
    else:
        findings.note(
            f"times are in steps of {step}, and {ties:,} of {len(time_ns):,} requests arrive at "
            "the very instant of the one before: what lay between them was not recorded, so "
            f"nothing is known of bursts shorter than {step}"
        )


class RecordingImporter(Importer):
    """A format that records requests one by one, whenever they arrived."""

    entry: ClassVar[str] = "line"  # what one request is in the file

    @abstractmethod
    def read(self, stream: Stream, reading: Reading, findings: Findings) -> Iterator[Chunk]:
        """The requests as they stand in the file.

        Raises:
            TraceFileError: An entry that is no request, beyond those that may be left out.
        """

    def load(self, stream: Stream, reading: Reading, *, name: str, path: str) -> ListedTrace:
        """The recording, sorted, with notes on how it was read; see `assemble`."""
        findings = Findings(reading.skip_bad, self.entry)
        chunks = self.read(stream, reading, findings)
        return assemble(chunks, findings, self.format, name=name, path=path)
