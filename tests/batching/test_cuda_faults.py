"""What goes wrong on a GPU, on the stand-in: refused captures, stalls, memory that is not seen."""

import numpy as np
import pytest
import torch

from batching import DynamicBatcher, ModelError, RealClock
from batching.execution.choose import make_executor
from batching.execution.memory_errors import is_out_of_memory
from batching.execution.warm_up import sizes_in_order
from batching.models import Placement
from batching.models.torch_model import TorchModel
from batching.profiles import measure_profile
from batching.profiles.memory import MemoryGauge
from batching.request import BatchRecord
from batching.workers.recovery import Failed
from tests.fake_cuda.device import cuda_error

EAGER = Placement("cuda:0")
GRAPHS = Placement("cuda:0", engine="cudagraph", captured_sizes=(1, 2, 4))


class Looks(torch.nn.Module):
    def forward(self, x):
        return x * float(x.sum().item())


class Doubled(torch.nn.Module):
    def forward(self, x):
        return x + x


def model_of(module, shape=(3,)):
    return TorchModel(module, lambda rng: torch.ones(shape), name=module.__name__.lower())


def prepared(module, placement):
    executor = make_executor(model_of(module), placement, RealClock())
    executor.prepare()
    return executor


def run(executor, count):
    payloads = [torch.full((3,), float(i)) for i in range(count)]
    return executor.execute(payloads, BatchRecord(size=count))


class TestARefusedCapture:
    def refuse(self):
        with pytest.raises(ModelError, match="operation not permitted when stream is capturing"):
            prepared(Looks, GRAPHS)

    @pytest.mark.parametrize("version", ["2.11", "2.13", "2.14"])
    def test_leaves_memory_random_numbers_and_graphs_as_they_were(self, device, version):
        device.refused_like = version
        self.refuse()
        torch.cuda.empty_cache()
        assert torch.rand(3, device="cuda").cpu().isfinite().all()
        assert [float(row[0]) for row in run(prepared(Doubled, GRAPHS), 3)] == [0, 2, 4]

    @pytest.mark.parametrize("version", ["2.11", "2.14"])
    def test_gives_its_memory_back_once(self, device, version):
        device.refused_like = version
        before = sum(pool.graphs for pool in device.pools.values())
        self.refuse()
        assert sum(pool.graphs for pool in device.pools.values()) == before

    def test_is_ended_by_the_name_that_torch_had_for_it_before(self, device, monkeypatch):
        end = torch._C._cuda_endAllocateToPool
        monkeypatch.delattr("torch._C._cuda_endAllocateToPool")
        monkeypatch.setattr("torch._C._cuda_endAllocateCurrentStreamToPool", end, raising=False)
        self.refuse()
        torch.cuda.empty_cache()

    def test_is_not_mistaken_for_what_a_model_raises_by_itself(self, device):
        class Raises(Doubled):
            def forward(self, x):
                if torch.cuda.is_current_stream_capturing():
                    raise ValueError("not like this")
                return super().forward(x)

        with pytest.raises(ModelError, match="ValueError: not like this"):
            prepared(Raises, GRAPHS)
        torch.cuda.empty_cache()


class TestTheStandIn:
    """That it can find what these tests look for."""

    @pytest.mark.parametrize(
        "wait",
        [
            lambda x: x.sum().item(),
            lambda x: bool(x.any()),
            lambda x: x.cpu(),
            lambda x: x.nonzero(),
            lambda x: x[x > 0],
            lambda x: torch.cuda.synchronize(),
            lambda x: torch.cuda.current_stream().synchronize(),
            lambda x: torch.cuda.empty_cache(),
        ],
    )
    def test_refuses_to_wait_within_a_capture_and_is_spoilt_by_it(self, device, wait):
        x, graph = torch.ones(3, device="cuda"), torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        with (
            torch.cuda.stream(stream),
            pytest.raises(RuntimeError, match="previous error during capture"),
            torch.cuda.graph(graph, stream=stream),
        ):
            wait(x + x)
        torch.cuda.set_stream(torch.cuda.default_stream())
        with pytest.raises(RuntimeError, match="captures_underway"):
            torch.cuda.empty_cache()
        with pytest.raises(RuntimeError, match="outside graph capture"):
            torch.rand(3, device="cuda")

    def test_does_not_mix_tensors_of_the_host_and_the_device(self, device):
        with pytest.raises(RuntimeError, match="tensors to be on the same device"):
            torch.ones(3, device="cuda") + torch.ones(3)

    def test_copies_late_what_is_page_locked_and_waits_for_what_is_not(self, device):
        here, there = torch.ones(3).pin_memory(), torch.zeros(3, device="cuda")
        there.copy_(here, non_blocking=True)
        here.fill_(7)
        assert device.host_syncs == []
        assert there.cpu().tolist() == [7, 7, 7]
        there.copy_(torch.ones(3), non_blocking=True)
        assert device.host_syncs == ["copy to the host", "copy to the device"]

    def test_hands_out_its_32_streams_in_turn(self, device):
        made = [torch.cuda.Stream() for _ in range(33)]
        assert len(set(made)) == 32
        assert made[0] == made[32]

    def test_has_a_driver_or_one_that_refuses(self, device):
        from bench.hardware.nvml import Gpu
        from tests import fake_cuda

        with fake_cuda.installed(small=False):
            assert (
                Gpu(0).facts()["memory_bytes"] == torch.cuda.get_device_properties(0).total_memory
            )
        with fake_cuda.installed(small=False, driver="refusing"):
            assert Gpu(0).why_not == "NVML Shared Library Not Found"


class TestWarmingUp:
    def test_runs_each_captured_size_once_and_what_is_beyond_them(self):
        assert sizes_in_order(6, (1, 2, 4, 8)) == [1, 6, 2, 4]
        assert sizes_in_order(7, (4,)) == [7, 4, 5, 6]
        assert sizes_in_order(4, (1, 2, 3, 4)) == [1, 4, 2, 3]

    def test_of_graphs_is_over_after_one_batch_of_each(self, device):
        with DynamicBatcher(
            model_of(Doubled), max_batch_size=100, device="cuda", engine="cudagraph"
        ) as batcher:
            sizes = batcher.cold_start.sizes
        assert sizes == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 100)
        assert device.replays == len(sizes) + 7, "powers of two are run once more"

    @pytest.mark.parametrize("engine", ["eager", "compile"])
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_leaves_no_size_cold_in_any_thread(self, device, engine, replicas):
        def convolution():
            return torch.nn.Conv1d(3, 2, 1)

        model = TorchModel(convolution, lambda rng: torch.ones(3, 5), name="convolution")
        with DynamicBatcher(
            model, max_batch_size=4, batch_timeout_ms=0, device="cuda", engine=engine,
            in_flight=2, replicas=replicas,
        ) as batcher:  # fmt: skip
            slots = [slot for worker in batcher._workers for slot in worker.slots]
            device.cold.clear()
            requests = [batcher.submit(torch.ones(3, 5)) for _ in range(300)]
            assert all(len(request.result(30)) == 2 for request in requests)
        assert device.cold == []
        assert len({thread for thread, _, _ in device.plans}) == len(slots)
        assert len(batcher._life.cold_starts) == replicas


def test_inputs_are_stacked_by_one_thread(device):
    threads = []

    class Noting(TorchModel):
        def collate(self, payloads, staging):
            threads.append(torch.get_num_threads())
            return super().collate(payloads, staging)

    torch.set_num_threads(2)
    model = Noting(Doubled, lambda rng: torch.ones(3), name="noting")
    with DynamicBatcher(model, device="cuda", in_flight=2) as batcher:
        batcher.submit(torch.ones(3)).result(30)
    assert set(threads) == {1}


class TestMemory:
    def test_of_a_batch_has_what_its_graph_computes_in(self, device):
        class Wide(torch.nn.Module):
            def forward(self, x):
                return x.repeat(1, 100_000).relu().sum(1, keepdim=True)

        # An allocator rounds, and what else is allocated comes and goes by some kilobytes.
        needed = 0.99 * 4 * 3 * 100_000 * 4 * 2  # what is repeated, and what is made of it
        seen = []
        for placement in (EAGER, GRAPHS):
            executor, gauge = prepared(Wide, placement), MemoryGauge(placement)
            run(executor, 4)
            gauge.reset()
            run(executor, 4)
            seen.append(gauge.peak_bytes() - torch.cuda.memory_allocated())
            executor.close()
        assert seen[0] >= needed
        assert seen[1] >= needed

    @pytest.mark.parametrize(
        ("where", "copies_itself", "sizes"),
        [
            pytest.param(EAGER, False, {1}, id="on a GPU torch allocates"),
            pytest.param(EAGER, True, set(), id="on a GPU what a model allocates is not seen"),
            pytest.param(Placement(), True, {1}, id="on the CPU the process is looked at"),
        ],
    )
    def test_is_in_a_profile_where_it_can_be_told(self, device, where, copies_itself, sizes):
        class Model(TorchModel):
            pass

        Model.copies_itself = copies_itself
        model = Model(Doubled, lambda rng: torch.ones(3), name="doubled")
        profile = measure_profile(
            model, where, RealClock(), max_batch_size=1, budget_s=0.05, callers=False
        )
        assert set(profile.memory_bytes) == sizes

    @pytest.mark.parametrize(
        ("error", "ran_out"),
        [
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
            # what CUDA says where torch's allocator was not asked
            (cuda_error("CUDA error: out of memory\nSearch for `cudaErrorMemory"), True),
            (RuntimeError("CUDA driver error: out of memory"), True),
            # the libraries' workspaces
            (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublas"), True),
            (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
            # the host
            (MemoryError(), True),
            (RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: "
                          "can't allocate memory: you tried to allocate 99 bytes."), True),
            # others
            (cuda_error("CUDA error: an illegal memory access was encountered"), False),
            (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
            (ValueError("out of memory of the customer"), False),
        ],
    )  # fmt: skip
    def test_that_ran_out_is_known_whoever_says_so(self, error, ran_out):
        assert is_out_of_memory(error) == ran_out
        assert Failed(error, transient=False).out_of_memory == ran_out
        wrapped = ValueError("the batch could not be run")
        wrapped.__cause__ = error
        assert is_out_of_memory(wrapped) == ran_out

    def test_of_a_batch_that_cublas_had_none_for_is_tried_in_halves(self, device):
        class Greedy(Doubled):
            def forward(self, x):
                if x.shape[0] > 2:
                    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")
                return super().forward(x)

        with DynamicBatcher(
            model_of(Greedy), max_batch_size=8, batch_timeout_ms=50, device="cuda",
            warm_up_budget_s=0.0,
        ) as batcher:  # fmt: skip
            requests = [batcher.submit(torch.full((3,), float(i))) for i in range(8)]
            found = [float(request.result(30)[0]) for request in requests]
            assert found == list(2 * np.arange(8.0))
            assert batcher.statistics().size_limits == (2,)
