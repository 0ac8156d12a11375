"""Versions of packages, of this one also where it runs from a checkout that was not installed."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OWN = "dynbatch"
CHECKOUT = Path(__file__).resolve().parents[1]
_UNKNOWN = "unknown"


def version_of(package: str) -> str | None:
    """The version of an installed package, or our own; None for one that is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return own_version() if package == OWN else None


def own_version(checkout: Path = CHECKOUT) -> str:
    """The version of dynbatch; "unknown" if it is neither installed nor in its own checkout.

    Args:
        checkout: the folder that the packages are in.
    """
    try:
        return version(OWN)
    except PackageNotFoundError:
        pass
    try:
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
        found = project["project"]
        return str(found["version"]) if found["name"] == OWN else _UNKNOWN
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        return _UNKNOWN
