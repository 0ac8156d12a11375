"""Put profiles of a reference run among those that come with the package."""

import shutil
import sys
from pathlib import Path

from batching.errors import ProfileError
from batching.profiles import builtin, load_profile
from tests.reference.folder import PROFILES


def ship(source, target=builtin.FOLDER):
    """Copy every profile of a reference folder, or one profile; returns the names.

    Raises:
        ProfileError: a file is no profile, or one was interrupted.
    """
    found = sorted((source / PROFILES).glob("*.json")) if source.is_dir() else [source]
    if not found:
        raise ProfileError(f"{source} must hold profiles/*.json, but has none")
    for path in found:
        if load_profile(path).interrupted:
            raise ProfileError(f"{path}: was interrupted, and is not fit to be shipped")
    target.mkdir(exist_ok=True)
    for path in found:
        shutil.copyfile(path, target / path.name)
    return [path.stem for path in found]


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.reference.ship FOLDER, or PROFILE.json")
    try:
        names = ship(Path(sys.argv[1]))
    except ProfileError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"built in now: {', '.join(names)}")


if __name__ == "__main__":
    main()
