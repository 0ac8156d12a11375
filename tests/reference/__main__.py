"""`python tests/reference`, which `make gpu-reference` runs; the other words are its own."""

import sys
import time
from pathlib import Path
from types import ModuleType

BEGAN_S = time.monotonic()

ROOT = Path(__file__).resolve().parents[2]

# Run as a folder, so that it works in any environment: where a package there brings a `tests`,
# Python would take that one, since ours has no __init__.py.
sys.path[0] = str(ROOT)
own = ModuleType("tests")
own.__path__ = [str(ROOT / "tests")]
sys.modules["tests"] = own

if sys.argv[1:2] == ["step"]:
    from tests.reference import step

    step.main(sys.argv[2:])
elif sys.argv[1:2] == ["device"]:
    from tests.reference import environment

    environment.main(sys.argv[2])
elif sys.argv[1:2] == ["draw"]:
    from tests.reference import figures

    figures.main(sys.argv[2])
elif sys.argv[1:2] == ["pytest"]:
    from tests.reference import journal

    journal.main(sys.argv[2], sys.argv[3:])
else:
    try:
        from tests.reference import cli
    except ModuleNotFoundError as error:
        print(f"{sys.executable} must have the package {error.name}, but has not", file=sys.stderr)
        sys.exit(2)
    cli.main(sys.argv[1:], BEGAN_S)
