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


def pytest_collection_modifyitems(items):
    # What a compiler or a library has to say of a GPU is no failure of ours; it is listed at the
    # end. torch.compile warns of fp32 that is not rounded to tf32, say, wherever it could be.
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.filterwarnings("default"))


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not has_cuda():
        pytest.skip("needs a CUDA device, and this machine has none")
