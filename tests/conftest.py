"""Shared by all tests: those marked gpu run on a GPU, or on the stand-in where there is none."""

import functools
import os

import hypothesis
import pytest

# The same examples on every run: seeds instead of luck.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# Where what is to be known is what a real device does.
WITHOUT_A_STAND_IN = os.environ.get("DYNBATCH_FAKE_CUDA") == "never"


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
    # What a test may leave undone on a real device is no other test's to find.
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and WITHOUT_A_STAND_IN and not has_cuda():
        pytest.skip("needs a CUDA device, and this machine has none")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    # Around fixtures too, those of a module included, which the first of its tests makes.
    if not item.get_closest_marker("gpu") or has_cuda() or WITHOUT_A_STAND_IN:
        return (yield)
    from tests import fake_cuda

    with fake_cuda.installed():
        return (yield)
