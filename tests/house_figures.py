"""What the house is like: files, lines, import floors, circles and arrows of its rooms.

    python -m tests.house_figures           the table
    python -m tests.house_figures --check   exit code 1 where a rule of the house is broken

An arrow is a module that imports another, at its top, in a function or for a type alone. A floor is
a place in the longest way down the arrows. A circle is a set of modules that import one another.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("batching", "bench", "results", "workloads")
SHOWN = (*ROOMS, "bench.tuning")
MOST_FILES = 12
# One file a plug-in, and the stages of reading one run.
MAY_HAVE_MORE = {"bench/commands", "workloads/importers", "workloads/processes", "results/run"}
# Over the limit since before there was one; a folder leaves this list, none joins it.
STILL_HAVE_MORE = {"batching/profiles": 13, "workloads": 15}

Arrows = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """The files of the rooms, by their dotted name."""
    found = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def arrows(files: Mapping[str, Path]) -> Arrows:
    """What each module imports of the others."""
    return {name: _imported(path, files) - {name} for name, path in files.items()}


def _imported(path: Path, files: Mapping[str, Path]) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in files else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & files.keys()


def floors(graph: Arrows) -> tuple[int, list[list[str]]]:
    """The number of floors, a circle counted as one, and the circles.

    Strongly connected components by Tarjan's algorithm (1972), which yields what is imported
    before what imports it.
    """
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    floor: dict[str, int] = {}
    circles = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        path.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in path:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            circle = path[path.index(name) :]
            del path[path.index(name) :]
            below = [floor[o] for member in circle for o in graph[member] if o not in circle]
            floor.update(dict.fromkeys(circle, 1 + max(below, default=0)))
            if len(circle) > 1:
                circles.append(sorted(circle))

    for name in graph:
        if name not in number:
            visit(name)
    return max(floor.values()), circles


def row(label: str, names: Iterable[str], files: Mapping[str, Path], graph: Arrows) -> str:
    """A row of the table: of the modules `names` and the arrows between them."""
    names = set(names)
    inner = {name: graph[name] & names for name in names}
    depth, circles = floors(inner)
    lines = sum(len(files[name].read_text().splitlines()) for name in names)
    count = sum(map(len, inner.values()))
    return f"| {label} | {len(names)} | {lines:,} | {depth} | {len(circles)} | {count} |"


def crowded(files: Mapping[str, Path]) -> list[str]:
    """Folders with more files than a reader takes in at a glance, one sentence each."""
    in_folder = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for path in files.values()
        if path.name != "__init__.py"
    )
    return [
        f"{folder} must have {limit} files at most, but has {count}"
        for folder, count in in_folder.items()
        if folder not in MAY_HAVE_MORE
        and count > (limit := STILL_HAVE_MORE.get(folder, MOST_FILES))
    ]


def main() -> int:
    """Print the table, or what is wrong."""
    files = modules(ROOT)
    graph = arrows(files)
    if "--check" in sys.argv:
        wrong = [f"a circle of imports: {' '.join(circle)}" for circle in floors(graph)[1]]
        wrong += crowded(files)
        sys.stderr.writelines(f"{line}\n" for line in wrong)
        return bool(wrong)
    table = ["| part | files | lines | floors | circles | arrows |", "|---|---|---|---|---|---|"]
    table.append(row("all", files, files, graph))
    for part in SHOWN:
        inside = [name for name in files if f"{name}.".startswith(f"{part}.")]
        table.append(row(part, inside, files, graph))
    sys.stdout.write("\n".join(table) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
