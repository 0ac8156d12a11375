"""Shared by all tests: GPU tests skip, with their reason, where there is no GPU."""

import functools

import hypothesis
import pytest

# The same examples on every run: seeds instead of luck.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


@functools.cache
def has_cuda():
    import torch

    return torch.cuda.is_available()


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not has_cuda():
        pytest.skip("needs a CUDA device, and this machine has none")
