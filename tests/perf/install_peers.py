"""Fill an environment of other packages: dynbatch without torch, and each that can be installed.

Run by that environment's own interpreter, with the name of the extra in pyproject.toml that lists
the packages and a file of constraints. What cannot be installed is reported and left out; whoever
uses it then says so.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the parts of dynbatch that are used there import.
NEEDED = ["numpy", "pandas", "psutil", "pydantic", "rich"]


def main(extra, constraints):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pip("--constraint", constraints, *NEEDED).check_returncode()
    for package in project["optional-dependencies"][extra]:
        if pip("--constraint", constraints, package).returncode:
            print(f"{package} could not be installed: it is left out", file=sys.stderr)
    # Last, because pip would complain of its missing dependencies after each of the others.
    pip("--no-deps", "--editable", str(ROOT)).check_returncode()


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    return subprocess.run([*command, *arguments], check=False)


main(*sys.argv[1:])
