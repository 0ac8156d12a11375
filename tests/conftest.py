"""Shared by all tests: those marked gpu run on a GPU, or on the stand-in where there is none."""

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    # Around fixtures too, those of a module included, which the first of its tests makes.
    if not item.get_closest_marker("gpu") or has_cuda():
        return (yield)
    from tests import fake_cuda

    with fake_cuda.installed():
        return (yield)
