"""Shared by the tests of the command line."""

import sys

import pytest

from bench import cli


@pytest.fixture
def dynbatch(monkeypatch, capsys, tmp_path):
    """Run a command line in a folder of its own; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dynbatch", *map(str, arguments)])
        code = cli.run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
