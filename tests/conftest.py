"""Shared by all tests: those marked gpu run on a GPU, or on the stand-in where there is none."""

import functools
import os

import hypothesis
import pytest

# The same examples on every run: seeds instead of luck.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


@functools.cache
def has_cuda():
    import torch

    return torch.cuda.is_available()


def has_stand_in():
    """Not beside a GPU, in a torch built for CUDA, or where only a real device is asked for."""
    import torch

    wanted = os.environ.get("DYNBATCH_FAKE_CUDA") != "never"
    return wanted and not has_cuda() and not torch.backends.cuda.is_built()


def pytest_collection_modifyitems(items):
    # What a compiler or a library has to say of a GPU is no failure of ours; it is listed at the
    # end. torch.compile warns of fp32 that is not rounded to tf32, say, wherever it could be.
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.filterwarnings("default"))
    # What a test may leave undone on a real device is no other test's to find.
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not has_cuda() and not has_stand_in():
        pytest.skip("needs a CUDA device, or a torch for CPUs alone to stand in for one")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    # Around fixtures too, those of a module included, which the first of its tests makes.
    if not item.get_closest_marker("gpu") or not has_stand_in():
        return (yield)
    from tests import fake_cuda

    with fake_cuda.installed():
        return (yield)
