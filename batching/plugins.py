"""Objects from a user's own code, named `path/to/file.py:name` or `package.module:name`."""

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from batching.errors import ConfigError, describe

_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
_INSTALLED = {"site-packages", "dist-packages"}
_ROOMS = tuple(
    Path(__file__).resolve().parents[1] / room
    for room in ("batching", "bench", "results", "workloads")
)


def located(error: BaseException) -> str:
    """An error of a user's code on one line, with the file and line of that code it came through.

    It is the innermost line that is neither of an installed package nor of ours; an error in the
    syntax says by itself where it is.
    """
    frames = traceback.extract_tb(error.__traceback__)
    for frame in [] if isinstance(error, SyntaxError) else reversed(frames):
        if _is_the_users(frame.filename):
            return f"{describe(error)} ({frame.filename}, line {frame.lineno})"
    return describe(error)


def _is_the_users(filename: str) -> bool:
    path = Path(filename).resolve()
    ours = any(path.is_relative_to(folder) for folder in (*_ROOMS, _STANDARD_LIBRARY))
    return not (filename.startswith("<") or ours or _INSTALLED.intersection(path.parts))


@dataclass(frozen=True, slots=True)
class PluginKind:
    """What is looked for, in the words of the error messages.

    Attributes:
        noun: what calling it gives ("model").
        callable_as: what the user has to define ("function").
        error: what is raised where it cannot be had.
    """

    noun: str
    callable_as: str
    error: type[ConfigError]

    def build(self, source: str, attribute: str, *arguments: object) -> Any:
        """Import `source` and call what it defines as `attribute` with the arguments.

        The folder of the file (the current one, for a module) is appended to `sys.path`.

        Raises:
            ConfigError: as `error`; there is no such thing, or the user's code raised.
        """
        if source.endswith(".py"):
            module = self._import_file(Path(source))
        else:
            module = self._import_module(source)
        made_by = getattr(module, attribute, None)
        if not callable(made_by):
            raise self.error(
                f"{source} must define a {self.callable_as} {attribute!r}, but it does not"
            )
        try:
            return made_by(*arguments)
        except (Exception, SystemExit) as error:  # the user's code: anything may come
            raise self.error(
                f"{source}:{attribute}() must return a {self.noun}, but it raised {located(error)}"
            ) from error

    def _import_file(self, path: Path) -> ModuleType:
        if not path.is_file():
            raise self.error(f"{self.noun} file must exist, but got {str(path)!r}")
        _append_to_path(path.resolve().parent)
        spec = importlib.util.spec_from_file_location(f"dynbatch_user_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise self.error(f"{self.noun} file must be Python, but got {str(path)!r}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickle look a module up by its name
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # the user's code: anything may come
            raise self.error(
                f"{self.noun} file {str(path)!r} cannot be imported: {located(error)}"
            ) from error
        return module

    def _import_module(self, name: str) -> ModuleType:
        _append_to_path(Path.cwd())
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:  # the user's code: anything may come
            raise self.error(
                f"{self.noun} module {name!r} cannot be imported: {located(error)}"
            ) from error


def split_onnx(argument: str) -> tuple[str, str]:
    """The file and the sizes of axes in `FILE` or `FILE:axis=size,...`."""
    file, _, axes = argument.rpartition(":") if "=" in argument else (argument, "", "")
    return file, axes


def seen_from(folder: Path, named: str) -> str:
    """What a file in `folder` names as `path/to/file.py:name`, as it is named from here.

    So for `onnx:path/to/model.onnx`. Whatever is not in a file of its own, a built-in or a module,
    is called the same everywhere.
    """
    return with_path(named, lambda file: joined(folder, file))


def with_path(named: str, change: Callable[[str], str]) -> str:
    """The same model or policy with another path, where it is in a file of its own."""
    if named.startswith("onnx:"):
        file, axes = split_onnx(named.removeprefix("onnx:"))
        return f"onnx:{change(file)}{':' if axes else ''}{axes}"
    source, colon, attribute = named.rpartition(":")
    return f"{change(source)}{colon}{attribute}" if source.endswith(".py") else named


def joined(folder: Path, path: str) -> str:
    """A path that is relative to a folder, without detours; they stay where a link is in them."""
    whole = folder / path
    short = os.path.normpath(whole)
    return short if os.path.realpath(short) == os.path.realpath(whole) else str(whole)


def _append_to_path(folder: Path) -> None:
    # Appended, not put first: a results/ folder of the user's must not shadow ours.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
