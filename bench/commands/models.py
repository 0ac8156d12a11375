"""`dynbatch models`: what `--model` takes."""

import sys


def models() -> None:
    """List the built-in models, and how to name one of your own."""
    from batching.models.loading import ONNX, SYNTHETIC, ZOO

    listed = {
        **ZOO,
        **SYNTHETIC,
        **ONNX,
        "your own": "path/to/file.py:factory or package.module:factory",
    }
    width = max(map(len, listed)) + 2
    lines = [f"{name:<{width}}{text}" for name, text in listed.items()]
    sys.stdout.write("\n".join(lines) + "\n")
