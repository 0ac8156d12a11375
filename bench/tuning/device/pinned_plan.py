"""What depends on the time there is: decided once, and kept for when a tuning is resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results.files import write_text

PLAN = "plan.json"


def pinned(
    path: Path, matching: dict[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What a file says, if it was made for the same; else made now, and written.

    Args:
        path: of the file; the folders above it are made.
        matching: what it has to have been made for, JSON-able.
        make: makes it, JSON-able.
    """
    wanted = json.loads(json.dumps(matching))
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if isinstance(known, dict) and known.get("of") == wanted and isinstance(known.get("is"), dict):
        return dict(known["is"])
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"of": wanted, "is": made}, indent=1) + "\n")
    return made
