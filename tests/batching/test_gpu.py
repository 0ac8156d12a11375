"""The CUDA path for real: every engine gives eager's results, and the CPU's, on the device."""

import math
import threading

import numpy as np
import pytest

from batching import DynamicBatcher, ModelError, RealClock, VirtualClock, load_model
from batching.execution.choose import make_executor
from batching.execution.cuda import TorchCuda
from batching.execution.cuda_executor import CudaExecutor
from batching.models import Placement
from batching.request import BatchRecord

pytestmark = pytest.mark.gpu

ENGINES = {
    "eager": Placement("cuda:0"),
    "cudagraph": Placement("cuda:0", engine="cudagraph", captured_sizes=(1, 2, 4, 8)),
    "compile": Placement("cuda:0", engine="compile"),
}


def executor_for(spec, placement, **options):
    model = load_model(spec, clock=VirtualClock(), **options)
    executor = make_executor(model, placement, RealClock())
    executor.prepare()
    return executor


def run(executor, payloads):
    batch = BatchRecord(size=len(payloads))
    return executor.execute(payloads, batch), batch


def inputs(executor, count, seed=0):
    rng = np.random.default_rng(seed)
    return [executor.model.make_input(rng) for _ in range(count)]


@pytest.fixture(scope="module", params=ENGINES)
def mlp(request):
    return executor_for("mlp", ENGINES[request.param])


def on_the_cpu(executor):
    """The same model with the same weights on the CPU."""
    cpu = make_executor(load_model("mlp", clock=VirtualClock()), Placement(), RealClock())
    cpu.prepare()
    state = executor.model._module.state_dict()
    cpu.model._module.load_state_dict({name: value.cpu() for name, value in state.items()})
    return cpu


def close(rows, wanted, rtol=1e-2, atol=1e-3):
    import torch

    torch.testing.assert_close(
        torch.stack(tuple(rows)), torch.stack(tuple(wanted)), rtol=rtol, atol=atol
    )


def test_results_agree_with_the_cpu_at_every_size_and_come_back_to_the_host(mlp):
    cpu = on_the_cpu(mlp)
    for size in (8, 1, 5, 7, 3, 9, 2, 4, 6):
        payloads = inputs(mlp, size, seed=size)
        rows, batch = run(mlp, payloads)
        assert rows[0].device.type == "cpu"
        close(rows, run(cpu, payloads)[0])
        assert 0 < batch.device_s < batch.completed_s - batch.staged_s + 1e-3


def test_results_of_one_batch_survive_the_next(mlp):
    import torch

    rows, _ = run(mlp, inputs(mlp, 3))
    kept = [row.clone() for row in rows]
    for seed in range(20):
        run(mlp, inputs(mlp, 4, seed))
    assert all(torch.equal(row, copied) for row, copied in zip(rows, kept, strict=True))


def test_a_second_slot_starts_behind_the_first_and_both_are_right(mlp):
    cpu = on_the_cpu(mlp)
    second = mlp.sibling()
    second.prepare()
    payloads = [inputs(mlp, 8, seed) for seed in range(40)]
    running = []
    for i, group in enumerate(payloads):
        executor = (mlp, second)[i % 2]
        if len(running) == 2:
            ended, batch, wanted, started = running.pop(0)
            close(ended.split(ended.finish(started, batch), 8), run(cpu, wanted)[0])
            assert batch.device_s > 0
            assert batch.started_s <= batch.completed_s
        batch = BatchRecord(size=8)
        staged = executor.stage(group, batch)
        batch.started_s = batch.staged_s = RealClock().now()
        running.append((executor, batch, group, executor.launch(staged, batch)))
    for ended, batch, wanted, started in running:
        close(ended.split(ended.finish(started, batch), 8), run(cpu, wanted)[0])


def test_staging_buffers_are_pinned_and_used_again():
    gpu = executor_for("mlp", Placement("cuda:0", "fp16"))
    for size in (8, 8, 3, 5):
        run(gpu, inputs(gpu, size))
    buffers = [buffer for kept in gpu._staging._sets for buffer in kept.values()]
    assert len(buffers) == 2
    assert all(buffer.is_pinned() for buffer in buffers)
    before = {buffer.data_ptr() for buffer in buffers}
    run(gpu, inputs(gpu, 8))
    after = {buffer.data_ptr() for kept in gpu._staging._sets for buffer in kept.values()}
    assert before == after


def test_waiting_for_a_batch_lets_other_threads_run():
    import torch

    cuda = TorchCuda("cuda:0")
    stream, done = cuda.stream(), cuda.event(timed=True)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    with cuda.on(stream):
        torch.cuda._sleep(1_000_000_000)  # about half a second of the device's clock
        done.record(stream)
    thread.start()
    before = counted[0]
    done.synchronize()
    after = counted[0]
    stop.set()
    thread.join()
    assert after - before > 10_000


def test_graphs_are_used_and_what_was_not_captured_is_counted():
    gpu = executor_for("mlp", ENGINES["cudagraph"])
    assert gpu.engine_s > 0
    assert gpu.engine_bytes >= 0
    _, batch = run(gpu, inputs(gpu, 5))
    assert (batch.real_elements, batch.padded_elements) == (5, 8)
    assert gpu.uncaptured == 0
    run(gpu, inputs(gpu, 9))
    assert gpu.uncaptured == 1


def test_captured_length_buckets_agree_with_eager():
    graphs = Placement("cuda:0", "fp32", "cudagraph", (1, 2, 4))
    gpu = executor_for("bert-base", graphs, length_buckets=(32, 64))
    rng = np.random.default_rng(0)
    payloads = [gpu.model.input_of_length(rng, length) for length in (20, 31, 5)]
    rows, _ = run(gpu, payloads)
    assert gpu.uncaptured == 0
    graphs_of, gpu._graphs = gpu._graphs, None
    wanted, _ = run(gpu, payloads)
    gpu._graphs = graphs_of
    close(rows, wanted)
    run(gpu, [gpu.model.input_of_length(rng, 100)])
    assert gpu.uncaptured == 1


@pytest.mark.parametrize("spec", ["mlp", "resnet50", "vit-b16", "bert-base"])
def test_the_host_waits_for_nothing_between_a_batch_s_inputs_and_its_results(spec):
    import torch

    gpu = executor_for(spec, Placement("cuda:0", "fp16"))
    payloads = inputs(gpu, 3)
    run(gpu, payloads)
    batch = BatchRecord(size=3)
    staged = gpu.stage(payloads, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        running = gpu.launch(staged, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(gpu.split(gpu.finish(running, batch), 3)) == 3


def test_texts_of_several_lengths_give_what_each_gives_alone():
    gpu = executor_for("bert-base", Placement("cuda:0"))
    payloads = inputs(gpu, 5)
    close(run(gpu, payloads)[0], [run(gpu, [payload])[0][0] for payload in payloads])


@pytest.mark.last
def test_a_model_that_cannot_be_captured_is_refused_in_one_line_and_the_device_goes_on():
    import torch

    from batching.models.torch_model import TorchModel

    class Looks(torch.nn.Module):
        def forward(self, x):
            return x * float(x.sum().item())

    model = TorchModel(Looks, lambda rng: torch.ones(3), name="looks")
    with pytest.raises(ModelError, match="engine cudagraph must have a model with") as refused:
        make_executor(model, ENGINES["cudagraph"], RealClock()).prepare()
    assert "\n" not in str(refused.value)
    torch.cuda.empty_cache()
    assert torch.rand(3, device="cuda").cpu().isfinite().all()
    for engine in ("eager", "cudagraph"):
        gpu = executor_for("mlp", ENGINES[engine])
        close(run(gpu, inputs(gpu, 3))[0], run(on_the_cpu(gpu), inputs(gpu, 3))[0])


@pytest.mark.parametrize("name", ["resnet50", "vit-b16"])
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_images_of_bytes_and_channels_last_agree_with_floats_and_channels_first(name, dtype):
    import torch

    gpu = executor_for(name, Placement("cuda:0", dtype))
    plain = make_executor(
        load_model(f"{name}-float", clock=VirtualClock()),
        Placement("cuda:0", dtype, channels_last=False),
        RealClock(),
    )
    plain.prepare()
    plain.model._module.load_state_dict(gpu.model._module.state_dict())
    payloads = inputs(gpu, 4)
    scale, shift = gpu.model._normalisation.factors()
    floats = [payload.float() * scale + shift for payload in payloads]
    rows, wanted = (
        torch.stack(tuple(run(e, p)[0])).float() for e, p in ((gpu, payloads), (plain, floats))
    )
    assert (rows - wanted).abs().max() < 0.05 * wanted.abs().max() + 0.05


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("in_flight", [1, 2])
def test_each_caller_gets_its_own_row_with_batches_overlapping(engine, in_flight):
    model = load_model("mlp", clock=VirtualClock())
    with DynamicBatcher(
        model, max_batch_size=8, device="cuda", engine=engine, in_flight=in_flight, replicas=2
    ) as batcher:
        rng = np.random.default_rng(0)
        payloads = [model.make_input(rng) for _ in range(400)]
        rows = [request.result(120) for request in [batcher.submit(p) for p in payloads]]
        wanted, _ = run(on_the_cpu(batcher._workers[0].slots[0].executor), payloads)
        close(rows, wanted)
        assert batcher.statistics().uncaptured_batches == 0


@pytest.mark.parametrize("engine", ["eager", "cudagraph"])
@pytest.mark.parametrize("spec", ["resnet50", "bert-base"])
def test_a_model_is_served_on_the_gpu_in_half_precision(spec, engine):
    model = load_model(spec, clock=VirtualClock())
    with DynamicBatcher(
        model, max_batch_size=8, device="cuda", dtype="fp16", engine=engine
    ) as batcher:
        assert isinstance(batcher._workers[0].slots[0].executor, CudaExecutor)
        rng = np.random.default_rng(0)
        requests = [batcher.submit(model.make_input(rng)) for _ in range(40)]
        assert all(len(r.result(120)) for r in requests)
        assert not math.isnan(requests[-1].batch.device_s)


def test_memory_comes_back_when_a_batcher_stops():
    import torch

    model = load_model("resnet50", clock=VirtualClock())
    cuda = TorchCuda("cuda:0")
    free = []
    for _ in range(4):
        with DynamicBatcher(
            model, max_batch_size=8, device="cuda", dtype="fp16", engine="cudagraph"
        ) as batcher:
            batcher.submit(model.make_input(np.random.default_rng(0))).result(120)
        torch.cuda.synchronize()
        free.append(cuda.free_bytes())
    # The second has streams of its own, since the first is not forgotten yet, and cuBLAS keeps a
    # workspace for each; from then on they are used again.
    assert free[-1] > free[1] - 64 * 2**20
