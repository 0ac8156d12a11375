"""Writing a described trace as a file that `load` reads."""

import json
import os
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from workloads.errors import TraceFileError
from workloads.processes import as_json
from workloads.specs import DescribedTrace


def save_described(spec: DescribedTrace, path: str | Path) -> None:
    """Write the file that describes `spec`, whole or not at all.

    Raises:
        TraceFileError: The file cannot be written.
    """
    path = Path(path)
    named = {field.name: getattr(spec, field.name) for field in fields(spec)}
    said = {key: value for key, value in named.items() if key != "process" and value is not None}
    content = {**as_json(spec.process), **said}
    # In the same folder, since a rename is atomic within one file system only.
    draft = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise TraceFileError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # still there only if something failed
            draft.unlink()
