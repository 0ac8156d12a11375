"""What is printed while a command is at work."""

import io

import pytest
from rich.console import Console

from bench.console import progress_line

PARTS = (
    "120.0/300 s",
    "sent 1,204,117",
    "done 1,204,001",
    "4,013 req/s",
    "p99 812.3 ms",
    "queue 9",
)


@pytest.mark.parametrize("width", [20, 40, 80, 104, 105, 200])
def test_progress_is_one_line_whatever_the_width(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(progress_line(width, 120.0, 300.0, *PARTS))
    [line] = console.file.getvalue().splitlines()
    assert line.startswith("120.0/300 s")
    assert len(line.rstrip()) <= width
    assert ("queue 9" in line) == (width >= 105)
