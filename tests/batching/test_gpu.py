"""The CUDA path: the same results as on the CPU, with the device's own times beside them."""

import math

import numpy as np
import pytest

from batching import DynamicBatcher, RealClock, VirtualClock, load_model
from batching.execution import CudaExecutor, make_executor
from batching.models import Placement
from batching.request import BatchRecord

pytestmark = pytest.mark.gpu


def executor_for(spec, placement):
    executor = make_executor(load_model(spec, clock=VirtualClock()), placement, RealClock())
    executor.prepare()
    return executor


def test_results_agree_with_the_cpu_and_come_back_to_the_host():
    import torch

    gpu = executor_for("mlp", Placement("cuda:0"))
    assert isinstance(gpu, CudaExecutor)
    cpu = make_executor(load_model("mlp", clock=VirtualClock()), Placement(), RealClock())
    cpu.prepare()
    cpu.model._module.load_state_dict(
        {name: value.cpu() for name, value in gpu.model._module.state_dict().items()}
    )
    rng = np.random.default_rng(0)
    payloads = [gpu.model.make_input(rng) for _ in range(7)]
    batch = BatchRecord(size=7)
    on_gpu = gpu.execute(payloads, batch)
    on_cpu = cpu.execute(payloads, BatchRecord(size=7))
    assert on_gpu[0].device.type == "cpu"
    torch.testing.assert_close(torch.stack(on_gpu), torch.stack(on_cpu), rtol=1e-2, atol=1e-3)
    assert 0 < batch.device_s < batch.completed_s - batch.staged_s + 1e-3


def test_staging_buffers_are_pinned_and_used_again():
    gpu = executor_for("mlp", Placement("cuda:0", "fp16"))
    payloads = [gpu.model.make_input(np.random.default_rng(0))] * 8
    gpu.execute(payloads, BatchRecord(size=8))
    [buffer] = gpu._staging._buffers.values()
    assert buffer.is_pinned()
    gpu.execute(payloads[:3], BatchRecord(size=3))
    [again] = gpu._staging._buffers.values()
    assert again.data_ptr() == buffer.data_ptr()


def test_results_of_one_batch_survive_the_next():
    import torch

    gpu = executor_for("mlp", Placement("cuda:0"))
    rng = np.random.default_rng(0)
    first = gpu.execute([gpu.model.make_input(rng)], BatchRecord(size=1))[0]
    kept = first.clone()
    for _ in range(20):
        gpu.execute([gpu.model.make_input(rng)] * 4, BatchRecord(size=4))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("spec", ["resnet50", "bert-base"])
def test_a_model_is_served_on_the_gpu_in_half_precision(spec):
    model = load_model(spec, clock=VirtualClock())
    with DynamicBatcher(model, max_batch_size=8, device="cuda", dtype="fp16") as batcher:
        rng = np.random.default_rng(0)
        requests = [batcher.submit(model.make_input(rng)) for _ in range(40)]
        assert all(len(r.result(120)) for r in requests)
        assert not math.isnan(requests[-1].batch.device_s)
