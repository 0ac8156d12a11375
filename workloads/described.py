"""Described traces as JSON: a process with its parameters, a load, a length and a seed."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads import schema
from workloads.errors import TraceFileError, WorkloadError
from workloads.processes import PROCESSES, ArrivalProcess, Part, Superposition, as_json
from workloads.specs import DescribedTrace
from workloads.writing import check_folder, replacing


def parse(values: Mapping[str, Any]) -> DescribedTrace:
    """The described trace with these fields, as JSON gave them.

    Raises:
        TraceFileError: A field is missing, unknown, or of another type.
        WorkloadError: A value out of range.
    """
    form = _form(values.get("process"))
    parameters = schema.field_names(form)
    schema.check_known(values, parameters | schema.field_names(DescribedTrace))
    process = _build(form, {key: value for key, value in values.items() if key in parameters})
    rest = {key: value for key, value in values.items() if key not in parameters}
    return schema.build(DescribedTrace, rest | {"process": process})


def parse_process(kind: object, parameters: Mapping[str, Any]) -> ArrivalProcess:
    """The process of that name with these parameters, as JSON gave them.

    Raises:
        TraceFileError: The process or a parameter is unknown, missing, or of another type.
        WorkloadError: A value out of range.
    """
    form = _form(kind)
    known = schema.field_names(form)
    for name in parameters:
        if name not in known:
            takes = f"parameters among {', '.join(sorted(known))}" if known else "no parameters"
            raise TraceFileError(f"{kind} must have {takes}, but got {schema.shown(name)}")
    return _build(form, parameters)


def content(spec: DescribedTrace) -> dict[str, Any]:
    """The fields of the file that describes `spec`; `parse` makes it again."""
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    del fields["process"]
    # What a reader of a file takes for granted is left out of it.
    said = {key: value for key, value in fields.items() if value not in (None, "", False)}
    return as_json(spec.process) | said


def save_described(spec: DescribedTrace, path: str | Path) -> None:
    """Write the file that describes `spec`, whole or not at all.

    Raises:
        TraceFileError: The file cannot be written, or its name does not end in .json.
    """
    path = Path(path)
    if path.suffix != ".json":
        got = path.suffix or "no suffix"
        raise TraceFileError(f"{path}: a description's name must end in .json, but got {got}")
    check_folder(path)
    with replacing(path) as draft:
        draft.write_text(json.dumps(content(spec), indent=2) + "\n", encoding="utf-8")


def _form(kind: object) -> type[ArrivalProcess]:
    if not isinstance(kind, str) or kind not in PROCESSES:
        known = ", ".join(PROCESSES)
        raise TraceFileError(f"process must be one of {known}, but got {schema.shown(kind)}")
    return PROCESSES[kind]


def _build(form: type[ArrivalProcess], parameters: Mapping[str, Any]) -> ArrivalProcess:
    if form is Superposition and isinstance(parameters.get("parts"), list):
        parts = [_part(i, values) for i, values in enumerate(parameters["parts"])]
        parameters = {**parameters, "parts": parts}
    return schema.build(form, parameters)


def _part(index: int, values: object) -> Part:
    try:
        if not isinstance(values, dict):
            raise TraceFileError(f"must be an object, but got {schema.shown(values)}")
        # Said before its parts are read: a file may nest them as deep as it likes.
        if values.get("process") == Superposition.kind:
            raise TraceFileError("process must not be superposition: list its parts instead")
        parameters = {k: v for k, v in values.items() if k not in {"process", "share"}}
        process = parse_process(values.get("process"), parameters)
        rest = {key: values[key] for key in ("share",) if key in values}
        return schema.build(Part, rest | {"process": process})
    except WorkloadError as error:
        raise TraceFileError(f"parts[{index}]: {error}") from None
