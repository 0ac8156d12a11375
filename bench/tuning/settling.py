"""What is settled once in a tuning and stays so when it is resumed, whatever time is left then.

How long draws are, and how many, depends on the time there is; runs that were made under some draws
are of no use with others.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.settings import BatcherSettings
from bench.tuning.search.engines import Setting
from results.run.record import Run, write_text


def settled(
    path: Path, matching: dict[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What a file says, if it was settled for the same; else made now, and written.

    Args:
        path: of the file; the folders above it are made.
        matching: what it has to have been settled for, JSON-able.
        make: settles it, JSON-able.
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


def ran_with(run: Run, batcher: BatcherSettings) -> bool:
    """Whether a run was of these settings; the number of replicas was settled when it was made.

    So was what an engine captures that is left to do as usual.
    """
    settled_then = {"replicas"}
    if isinstance(batcher, Setting) and not batcher.captured_batch_sizes:
        settled_then.add("captured_batch_sizes")
    wanted = batcher.model_dump(mode="json", exclude=settled_then)
    return all(run.record.config.get(key) == value for key, value in wanted.items())
