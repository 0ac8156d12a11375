"""`make perf`: how fast dynbatch itself is, as ratios taken side by side in one run."""

import importlib
import platform
import sys
from importlib.metadata import version

from rich.console import Console

from batching.execution.devices import cpu_name

PARTS = {
    "arrivals": "tests.perf.arrivals",
    "closed_loop": "tests.perf.closed_loop",
    "overhead": "tests.perf.overhead",
    "overload": "tests.perf.overload",
    "saturation": "tests.perf.saturation",
    "simulation": "tests.perf.simulation",
    "sustained": "tests.perf.sustained",
    "peers": "tests.perf.peers.compare",
}
# The peers' packages are in an environment of their own, where only this part runs.
UNASKED = [part for part in PARTS if part != "peers"]


def main():
    chosen = sys.argv[1:] or UNASKED
    unknown = set(chosen) - set(PARTS)
    if unknown:
        sys.exit(f"parts are {', '.join(PARTS)}, but got {', '.join(sorted(unknown))}")
    console = Console(highlight=False, width=110)
    console.print(
        f"{cpu_name()}, Python {platform.python_version()}, numpy {version('numpy')}, "
        f"dynbatch {version('dynbatch')}"
    )
    for part in chosen:
        importlib.import_module(PARTS[part]).main(console)


main()
