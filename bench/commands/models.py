"""`dynbatch models`: what `--model` takes."""

import sys


def models() -> None:
    """List the built-in models, and how to name one of your own."""
    from batching.models.loading import SYNTHETIC, ZOO

    lines = [f"{name:<12}{text}" for name, text in ZOO.items()]
    lines += [f"{name:<12}{text}" for name, text in SYNTHETIC.items()]
    lines.append(f"{'your own':<12}path/to/file.py:factory or package.module:factory")
    sys.stdout.write("\n".join(lines) + "\n")
