"""Fill the peers' environment: dynbatch without torch, and each peer that can be installed.

Run by that environment's own interpreter. A peer that cannot be installed is reported and left
out; the comparison then says so.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "tests" / "perf" / "constraints-peers.txt"
# What the parts of dynbatch that are measured import.
NEEDED = ["numpy", "pandas", "psutil", "pydantic", "rich"]


def main():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pip("--constraint", str(CONSTRAINTS), *NEEDED).check_returncode()
    for peer in project["optional-dependencies"]["perf"]:
        if pip("--constraint", str(CONSTRAINTS), peer).returncode:
            print(f"{peer} could not be installed: it is left out", file=sys.stderr)
    # Last, because pip would complain of its missing dependencies after each of the others.
    pip("--no-deps", "--editable", str(ROOT)).check_returncode()


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    return subprocess.run([*command, *arguments], check=False)


main()
