"""Asks TorchServe's own classes, in their jar, by a small program of ours: TorchServe.java."""

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("TorchServe.java")


def torchserve(config, folder):
    """What the program prints of a model-config.yaml; it leaves its logs in the folder."""
    try:
        home = Path(distribution("torchserve").locate_file("")).resolve()
    except PackageNotFoundError:
        pytest.skip("torchserve is not installed")
    if shutil.which("java") is None or shutil.which("javac") is None:
        pytest.skip("no JDK here")
    jar = home / "ts" / "frontend" / "model-server.jar"
    done = subprocess.run(
        ["java", "-cp", jar, PROGRAM, config],  # noqa: S607 - whichever Java the user has
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "TS_MODEL_SERVER_HOME": str(home)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
