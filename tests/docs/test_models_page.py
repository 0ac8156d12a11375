"""docs/models.md: what it shows is run as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest

from batching import RealClock, load_model
from batching.execution.choose import make_executor
from batching.models import Placement
from batching.models.loading import ONNX, SYNTHETIC, ZOO
from batching.request import BatchRecord

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_of_the_page_is_one_that_is_run_here():
    assert len(BLOCKS) >= 3
    assert {language for language, _ in BLOCKS} == {"python"}


@pytest.mark.parametrize("code", [code for _, code in BLOCKS])
def test_a_block_of_code_runs_as_it_stands(code, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    exec(compile(code, "docs/models.md", "exec"), {"__name__": "page"})  # noqa: S102 - our own


EXAMPLES = [*re.findall(r"--model (docs/\S+\.py:\w+)", PAGE), "docs/examples/dict_model.py:make"]


@pytest.mark.parametrize("spec", EXAMPLES)
def test_an_example_is_a_model_that_serves_its_own_inputs(spec, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = load_model(spec, clock=RealClock())
    executor = make_executor(model, Placement(), RealClock())
    rng = np.random.default_rng(0)
    results = executor.execute([model.make_input(rng) for _ in range(3)], BatchRecord(size=3))
    assert len(results) == 3


def test_every_kind_of_model_that_is_listed_is_on_the_page():
    for name in (*ZOO, *SYNTHETIC, *ONNX):
        assert f"`{name}" in PAGE or f"`{name}:" in PAGE
