"""Which packages an environment lacks, or has too old: named all at once, before anything runs."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the GPU tests need beside what dynbatch itself needs.
FOR_TESTS = ("pytest>=8.3",)


def declared(root=ROOT):
    """What `pyproject.toml` says that dynbatch needs."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "dependencies"
    ]


def missing_packages(requirements, find=distribution):
    """Which requirements are not met here, and which of what these need in turn; sorted.

    Args:
        requirements: as pip takes them: "numpy>=1.26".
        find: name -> installed distribution; raises PackageNotFoundError.
    """
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return ("packaging",)  # it reads the others
    lacking = {}
    seen = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop(0)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = find(wanted.name)
        except PackageNotFoundError:
            lacking.setdefault(wanted.name.lower(), f"{wanted.name}{wanted.specifier}")
            continue
        if not wanted.specifier.contains(found.version, prereleases=True):
            text = f"{wanted.name}{wanted.specifier} (it has {found.version})"
            lacking.setdefault(wanted.name.lower(), text)
        if wanted.name.lower() not in seen:
            seen.add(wanted.name.lower())
            waiting += [Requirement(text) for text in found.requires or ()]
    return tuple(sorted(lacking.values()))


def remark(lacking):
    """One line that names them all."""
    names = ", ".join(lacking)
    return f"note: not here: {names}; what needs them may fail, and the rest is measured"
