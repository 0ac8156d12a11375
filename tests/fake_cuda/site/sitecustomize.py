"""Found through PYTHONPATH, see `tests.fake_cuda`: installs the stand-in as Python starts."""

import os
import sys
from pathlib import Path
from types import ModuleType

if os.environ.get("DYNBATCH_FAKE_CUDA"):
    # By its place: these tests may not be on the path, or not be the first of that name.
    tests = sys.modules["tests"] = ModuleType("tests")
    tests.__path__ = [str(Path(__file__).resolve().parents[2])]
    from tests import fake_cuda

    fake_cuda.install(driver=os.environ["DYNBATCH_FAKE_CUDA"])
