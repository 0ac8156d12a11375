"""`make check-exports`: what `dynbatch export` writes and says, asked of the servers' packages."""

import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import pytest

from bench.export import export
from bench.settings import Settings

PACKAGES = ("tritonclient", "ray", "litserve", "bentoml", "torchserve")


def pytest_report_header():
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} is not installed")
    return ", ".join(found)


@pytest.fixture
def exported(tmp_path):
    """Write an export to a file; returns its path."""

    def write(to, name, model=None, **batcher):
        settings = Settings.model_validate({"model": model or {}, "batcher": batcher})
        path = tmp_path / name
        path.write_text(export(settings, to, "recommended.toml").text)
        return path

    return write


@pytest.fixture
def imported(exported, monkeypatch):
    """Import an export, with a model in the place of the user's own."""

    def load(to, model=None, run=list, **batcher):
        mine = ModuleType("my_model")
        mine.load = lambda device: run
        monkeypatch.setitem(sys.modules, "my_model", mine)
        path = exported(to, "exported_server.py", model, **batcher)
        spec = importlib.util.spec_from_file_location("exported_server", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "exported_server", module)
        spec.loader.exec_module(module)
        return module

    return load
