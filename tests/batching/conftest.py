"""The CUDA stand-in, for tests that look behind it."""

import pytest


@pytest.fixture
def device():
    """A stand-in for a GPU; the models are as wide as they are."""
    import torch

    from tests import fake_cuda
    from tests.conftest import has_cuda

    if has_cuda():
        pytest.skip("the stand-in takes the place of a GPU, and here is one")
    threads = torch.get_num_threads()
    with fake_cuda.installed(small=False) as device:
        yield device
    torch.set_num_threads(threads)
