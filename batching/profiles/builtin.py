"""Profiles that come with the package, so that a machine without the device can simulate it.

Each is a file in `shipped/`, written by `dynbatch profile` and named for what was measured:
`<device>-<model>-<dtype>[-<engine>]`, the engine left out where it is eager.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "shipped"


def builtin_names() -> tuple[str, ...]:
    """The names of the built-in profiles, in order; empty where none is shipped."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def is_name(path: Path) -> bool:
    """Whether this reads as a built-in's name, not as a file: no folder, no `.json`."""
    return path.name == str(path) and path.suffix != ".json"


def located(path: Path) -> Path:
    """The file that `path` means: itself if it is there, or else the built-in of that name.

    A name may end in `.json`. A path that is neither is returned as it came, for the reader to say
    that there is no such file.
    """
    if path.exists() or path.name != str(path):
        return path
    name = path.name.removesuffix(".json")
    return FOLDER / f"{name}.json" if name in builtin_names() else path


def known_names() -> str:
    """The built-in profiles as an error names them."""
    return f"the built-in profiles are {', '.join(builtin_names()) or 'none so far'}"
