"""Every `dynbatch trace` command of README and docs, in the order of the page."""

import gzip
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bench import cli
from tests.workloads.examples import ACCESS_LOG, BURSTGPT, RECORDING
from workloads import Mmpp, Trace, save

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/traces.md", "docs/service.md"]


def commands(page):
    """The command lines of a page, as lists of words without `dynbatch`."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^ {4}(?:\$ )?dynbatch (trace .*)$", text, re.MULTILINE)
    return [shlex.split(command, comments=True) for command in found]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    arrival_s = Mmpp(2.0, 1.0, 4.0).arrivals(10.0, 1800.0, np.random.default_rng(0))
    tokens = np.arange(len(arrival_s)) % 900
    day = Trace(arrival_s, 1800.0, input_tokens=tokens, name="day")
    for name in ("day.json", "chat.json", "code.json", "requests.csv", "requests.csv.gz"):
        save(day, name)
    Path("BurstGPT_1.csv.gz").write_bytes(gzip.compress(BURSTGPT))
    Path("access.log").write_bytes(
        ACCESS_LOG.replace(b"200 -\n", b'200 - "-" "-"\n').replace(b"\n", b" 0.250\n")
    )
    Path("arrivals-4711.rec").write_bytes(RECORDING)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_do_what_it_says(folder, monkeypatch, capsys, page):
    # Drawing takes a second a picture, and is tested elsewhere.
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **options: path.write_bytes(b"png"))
    for words in commands(page):
        monkeypatch.setattr(sys, "argv", ["dynbatch", *words])
        assert (cli.run(), words) == (0, words), capsys.readouterr().err
        written = [after for word, after in pairwise(words) if word == "--out"]
        written += words[3:4] if words[1] == "convert" else []
        assert [name for name in written if not (folder / name).exists()] == []


def test_every_subcommand_is_in_readme_and_docs():
    subcommands = {"show", "make", "convert", "window", "scale", "merge", "fit"}
    for page in PAGES[:2]:
        assert {words[1] for words in commands(page)} == subcommands
