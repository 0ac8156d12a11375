"""Which packages an environment lacks, or has too old: named all at once, before anything runs."""

import tomllib
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Missing:
    """What an environment lacks, sorted.

    Attributes:
        asked: of the requirements themselves: nothing can be run.
        beyond: of what these need in turn. An environment that somebody else put together may work
            without, so that is only said.
    """

    asked: tuple[str, ...]
    beyond: tuple[str, ...]


def missing_packages(requirements, find=distribution):
    """Which requirements are not met here.

    Args:
        requirements: as pip takes them: "numpy>=1.26".
        find: name -> installed distribution; raises PackageNotFoundError.
    """
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return Missing(("packaging",), ())  # it reads the others
    lacking = ({}, {})
    seen = set()
    waiting = [(Requirement(text), 0) for text in requirements]
    while waiting:
        wanted, depth = waiting.pop(0)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = find(wanted.name)
        except PackageNotFoundError:
            lacking[depth].setdefault(wanted.name.lower(), f"{wanted.name}{wanted.specifier}")
            continue
        if not wanted.specifier.contains(found.version, prereleases=True):
            text = f"{wanted.name}{wanted.specifier} (it has {found.version})"
            lacking[depth].setdefault(wanted.name.lower(), text)
        if wanted.name.lower() not in seen:
            seen.add(wanted.name.lower())
            waiting += [(Requirement(text), 1) for text in found.requires or ()]
    asked, beyond = lacking
    others = [text for name, text in beyond.items() if name not in asked]
    return Missing(tuple(sorted(asked.values())), tuple(sorted(others)))


def complaint(missing):
    """One line that names them all."""
    names = ", ".join((*missing.asked, *missing.beyond))
    return (
        f"this environment must have {names}, and what these need in turn, but has not: "
        "install them, or leave PYTHON out and let make set up .venv"
    )


def remark(missing):
    """One line about what may do no harm."""
    return f"note: packages here say that they need {', '.join(missing.beyond)}; going on without"
