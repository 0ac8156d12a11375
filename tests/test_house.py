"""What holds for the project as a whole."""

import importlib
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.house_figures import arrows, floors

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("batching", "bench", "results", "workloads")
HEAVY = (
    "jinja2", "matplotlib", "numpy", "optuna", "pandas", "pyarrow", "pydantic", "torch",
    "transformers",
)  # fmt: skip


def modules_after(code):
    """Which modules a fresh interpreter has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
    )


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_owns_the_name_of_a_room(room):
    assert set(packages_distributions().get(room, ["dynbatch"])) == {"dynbatch"}


def test_help_loads_nothing_heavy():
    assert not modules_after("import bench.cli") & set(HEAVY)


@pytest.mark.parametrize(
    "room", ["results.run.report", "results.tuning.report", "results.run.summary", "workloads"]
)
def test_a_report_is_drawn_and_a_trace_made_without_torch(room):
    assert "torch" not in modules_after(f"import {room}")


def test_a_service_imports_the_batcher_without_torch_or_the_other_rooms():
    loaded = modules_after("import batching")
    assert not loaded & {"torch", "pandas", "matplotlib", "bench", "results", "workloads"}


@pytest.mark.parametrize("room", ["batching", "batching.models"])
def test_a_model_of_torch_is_there_where_the_batcher_is(room):
    from batching.models.torch_model import TokenModel, TorchModel

    there = importlib.import_module(room)
    assert (there.TorchModel, there.TokenModel) == (TorchModel, TokenModel)
    with pytest.raises(AttributeError, match=f"module '{room}' has no attribute 'Torchmodel'"):
        there.Torchmodel  # noqa: B018 - the lookup is what is tested


def test_constraints_pin_public_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][^+\s]*", line) for line in lines)
    assert "torch==2.13.0" in lines


def test_the_changelog_has_the_version_of_the_package():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_floors_count_the_longest_way_and_a_circle_is_one():
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": {"d"}, "d": {"c"}, "e": set()}
    assert floors(graph) == (3, [["c", "d"]])
    assert floors({"a": set()}) == (1, [])


def test_every_import_is_an_arrow_wherever_it_stands(tmp_path):
    (tmp_path / "one.py").write_text(
        "from bench import two\nif TYPE_CHECKING:\n    from bench.three import T\n"
        "def f():\n    import bench.four\n    import json\n"
    )
    names = {"bench", "bench.one", "bench.two", "bench.three", "bench.four"}
    files = dict.fromkeys(names, tmp_path / "none.py") | {"bench.one": tmp_path / "one.py"}
    (tmp_path / "none.py").touch()
    assert arrows(files)["bench.one"] == {"bench.two", "bench.three", "bench.four"}
