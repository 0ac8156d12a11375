"""A setting in another server's words: one file a server, one contract suite for all.

A new one is one file here, one line in `registry.py`, and `tests/bench/export/test_export.py`.
"""

from bench.export.registry import TARGETS, Exported, export

__all__ = ["TARGETS", "Exported", "export"]
