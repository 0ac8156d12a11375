"""What a run ran on: hardware, versions, and the state of this program's own source."""

import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from batching.execution.devices import cpu_name, gpu_name, usable_cores
from batching.versions import CHECKOUT, version_of

# Names the commit of a copy of the source that has no history with it.
COMMIT_VARIABLE = "DYNBATCH_COMMIT"
_PACKAGES = ("dynbatch", "torch", "transformers", "numpy", "pandas")


def describe_environment(*, torch_threads: int | None, gpu_index: int | None) -> dict[str, Any]:
    """Everything that a figure depends on and the settings do not say."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "gpu": None if gpu_index is None else gpu_name(gpu_index),
        "packages": {name: found for name in _PACKAGES if (found := version_of(name))},
        "git_commit": git_commit(),
        "torch_threads": torch_threads,
    }


def git_commit() -> str | None:
    """The commit this program runs from, "+dirty" if its files differ.

    Outside a checkout it is what DYNBATCH_COMMIT says; None without.
    """
    given = os.environ.get(COMMIT_VARIABLE) or None

    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(CHECKOUT), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        # Installed elsewhere, the surrounding checkout would be somebody else's.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != CHECKOUT:
            return given
        dirty = "+dirty" if git("status", "--porcelain") else ""
        return git("rev-parse", "--short=12", "HEAD") + dirty
    except (OSError, subprocess.SubprocessError):
        return given


def command_line() -> str:
    """As a shell would take it again, passwords in URLs left out."""
    return shlex.join(["dynbatch", *map(without_password, sys.argv[1:])])


def without_password(argument: str) -> str:
    """An argument that can be shown and written down, as a URL may hold a password."""
    shown = re.sub(r"((?://|^\w+:)[^/@:]*):[^/]*@", r"\1:***@", argument)
    return re.sub(r"([?&][^=&]*password)=[^&]*", r"\1=***", shown)
