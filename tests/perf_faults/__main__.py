"""`make perf-faults`: every scenario on every contestant, printed and put into docs/peers.md."""

import json
import platform
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.perf.peers.compare import print_contestants, roll_call
from tests.perf.peers.contestants import CONTESTANTS
from tests.perf_faults import trial
from tests.perf_faults.scenarios import SCENARIOS, Outcome

PAGE = Path(__file__).resolve().parents[2] / "docs" / "peers.md"
BEGIN, END = "<!-- made by make perf-faults -->", "<!-- end -->"
LIMIT_S = 30.0


def main():
    console = Console(highlight=False)
    present, absent = roll_call()
    print_contestants(console, present, absent)
    matrix = {
        scenario.title: [cell(observed(key, name)) for name in present]
        for key, scenario in SCENARIOS.items()
    }
    labels = [CONTESTANTS[name].label for name in present]
    table = Table("", *labels, title="What happens", show_lines=True)
    for title, cells in matrix.items():
        table.add_row(title, *cells)
    console.print(table)
    write(versions(present, absent) + "\n\n" + markdown(labels, matrix))
    console.print(f"written to {PAGE.relative_to(Path.cwd())}")


def observed(scenario, contestant):
    """The outcome of one trial; its process is killed if it does not end by itself."""
    command = [sys.executable, "-m", trial.__name__, scenario, contestant]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    ended = True
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        ended = False
        process.kill()
        output, _ = process.communicate()
    if not output:
        return Outcome("the process ends" if ended else "the process hangs")
    outcome = Outcome(**json.loads(output.splitlines()[0]))
    return outcome if ended else Outcome(f"{outcome.word}; it does not stop", outcome.figure)


def cell(outcome):
    return f"{outcome.word} ({outcome.figure})" if outcome.figure else outcome.word


def versions(present, absent):
    there = ", ".join(
        dict.fromkeys(f"{CONTESTANTS[n].distribution} {CONTESTANTS[n].version}" for n in present)
    )
    lines = [f"Python {platform.python_version()}; {there}."]
    lines += [f"{CONTESTANTS[name].label} was left out: {why}." for name, why in absent.items()]
    return "\n".join(lines)


def markdown(labels, matrix):
    rows = [["", *labels], ["---"] * (len(labels) + 1)]
    rows += [[title, *cells] for title, cells in matrix.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write(text):
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


main()
