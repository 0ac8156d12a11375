"""The page of a trace: one HTML file with its picture and its numbers, to be opened anywhere."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from results.files import write_text
from results.page import render


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row names it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class TracePage:
    """What the page says.

    Args:
        name: Of the trace.
        headline: One sentence on what it is like.
        remarks: What else is to be known of it, a sentence each.
        key_numbers: Name, value, and what it is to be compared with.
        picture: A PNG.
        reading: How to read it.
        tables: Below the picture.
        command: What draws the page again.
    """

    name: str
    headline: str
    remarks: Sequence[str]
    key_numbers: Sequence[tuple[str, str, str]]
    picture: Path
    reading: str
    tables: Sequence[Table]
    command: str


def write_trace_page(page: TracePage, path: Path) -> None:
    """Write the page as one file that loads nothing: its picture is in it, and no script."""
    picture = base64.b64encode(page.picture.read_bytes()).decode("ascii")
    html = render("trace.html.j2", page=page, image=f"data:image/png;base64,{picture}")
    write_text(path, html)
