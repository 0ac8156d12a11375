"""`python -m tests.fake_cuda COMMAND ...`: Python with these arguments, on the stand-in."""

import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
paths = [str(here / "site"), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
os.environ.setdefault("DYNBATCH_FAKE_CUDA", "answers")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606 - it is this interpreter
