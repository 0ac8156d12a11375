"""The CUDA stand-in, for tests that look behind it."""

import pytest


@pytest.fixture
def device():
    """A stand-in for a GPU; the models are as wide as they are."""
    import torch

    from tests import fake_cuda
    from tests.conftest import has_stand_in

    if not has_stand_in():
        pytest.skip("the stand-in needs a torch for CPUs alone, and no GPU beside it")
    threads = torch.get_num_threads()
    with fake_cuda.installed(small=False) as device:
        yield device
    torch.set_num_threads(threads)
