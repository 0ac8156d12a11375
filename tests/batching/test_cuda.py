"""The CUDA path on the stand-in: what is late is waited for, and what CUDA forbids is not done."""

import gc
import threading

import numpy as np
import pytest
import torch

from batching import DeviceError, DynamicBatcher, ModelError, RealClock
from batching.execution.choose import make_executor
from batching.execution.cuda import TorchCuda
from batching.execution.cuda_executor import CudaExecutor
from batching.execution.staging import PinnedRing
from batching.models import Placement
from batching.models.torch_model import TokenModel, TorchModel
from batching.request import BatchRecord
from tests.fake_cuda.device import COPY_S, KERNEL_S

ON_GPU = Placement("cuda:0")
GRAPHS = Placement("cuda:0", engine="cudagraph", captured_sizes=(1, 2, 4, 8))


class Tripled(torch.nn.Module):
    def forward(self, inputs):
        return inputs * 3


class Vectors(TorchModel):
    """Gives each request its vector three times over."""

    def __init__(self, module=Tripled):
        super().__init__(module, lambda rng: torch.ones(3), name="vectors")


class Counted(torch.nn.Module):
    def forward(self, input_ids, attention_mask):
        total = (input_ids * attention_mask).sum(1)
        return torch.stack([total, torch.full_like(total, input_ids.shape[1])], 1)


class Texts(TokenModel):
    """Gives each request the sum of its text and the length it was padded to."""

    def __init__(self, length_buckets):
        super().__init__(
            Counted,
            lambda rng: torch.ones(5, dtype=torch.int64),
            name="texts",
            length_buckets=length_buckets,
        )


@pytest.fixture
def executor(device):
    def made(placement=ON_GPU, model=None):
        made = make_executor(model or Vectors(), placement, RealClock())
        made.prepare()
        return made

    return made


def vectors(count, start=0):
    return [torch.full((3,), float(start + i)) for i in range(count)]


def run(executor, payloads):
    batch = BatchRecord(size=len(payloads))
    return executor.execute(payloads, batch), batch


def first_of(rows):
    return [float(row[0]) for row in rows]


@pytest.fixture
def cuda(device):
    return TorchCuda("cuda:0")


class TestTheRing:
    def test_holds_a_batch_until_it_was_copied_while_the_next_is_collated(self, cuda):
        ring, stream, arrived = PinnedRing(cuda), cuda.stream(), []
        for start in (0, 10, 20, 30):
            ring.turn()
            staged = ring.stack("x", vectors(2, start))
            target = cuda.empty((2, 3), torch.float32)
            with cuda.on(stream):
                cuda.copy(target, staged)
            ring.copied(stream)
            arrived.append(target.inner)
        stream.synchronize()
        assert [first_of(target) for target in arrived] == [[0, 1], [10, 11], [20, 21], [30, 31]]

    def test_of_one_set_waits_for_the_copy_before_it_is_written_again(self, cuda):
        ring, stream = PinnedRing(cuda, 1), cuda.stream()
        ring.turn()
        target = cuda.empty((1, 3), torch.float32).zero_()
        with cuda.on(stream):
            cuda.copy(target, ring.stack("x", vectors(1, 7)))
        ring.copied(stream)
        assert first_of(target.inner) == [0]
        ring.turn()
        assert first_of(target.inner) == [7]

    def test_keeps_its_buffers_and_grows_them(self, device, cuda):
        ring = PinnedRing(cuda, 1)
        for size in (4, 1, 4, 3):
            ring.turn()
            ring.stack("x", vectors(size))
        assert device.pinned_blocks == 1
        ring.full("x", (9, 9), torch.float32, 1.0)
        ring.full("ids", (2, 2), torch.int64, 0)
        assert device.pinned_blocks == 3


class TestOnADevice:
    def test_each_request_gets_its_own_row_in_one_copy_a_batch(self, device, executor):
        made = executor()
        kept = []
        for n, start in [(1, 0), (5, 10), (3, 20), (8, 30)]:
            rows, _ = run(made, vectors(n, start))
            kept.append((n, start, rows))
        for n, start, rows in kept:
            assert first_of(rows) == [3.0 * (start + i) for i in range(n)]
        assert device.pinned_blocks == 4 + 4, "two sets of inputs, each grown once, and the results"

    def test_time_on_the_device_is_that_between_its_events(self, executor):
        _, batch = run(executor(), vectors(2))
        assert batch.device_s == pytest.approx(KERNEL_S)
        assert batch.staged_s == batch.started_s <= batch.completed_s

    def test_a_second_slot_stages_and_starts_behind_a_batch_that_still_runs(self, executor):
        first = executor()
        second = first.sibling()
        second.prepare()
        one, two = BatchRecord(size=2), BatchRecord(size=3)
        staged = first.stage(vectors(2), one)
        running = first.launch(staged, one)
        staged = second.stage(vectors(3, 50), two)
        two.started_s = 0.0
        behind = second.launch(staged, two)
        assert (running.queued, behind.queued) == (False, True)
        assert first_of(first.split(first.finish(running, one), 2)) == [0, 3]
        assert first_of(second.split(second.finish(behind, two), 3)) == [150, 153, 156]
        taken_s = KERNEL_S + COPY_S
        assert two.started_s == pytest.approx(two.completed_s - taken_s, abs=2 * taken_s)
        assert two.started_s > 0.0

    def test_a_batch_that_waits_for_none_starts_when_it_is_launched(self, executor):
        made = executor()
        run(made, vectors(2))
        batch = BatchRecord(size=2)
        staged = made.stage(vectors(2), batch)
        batch.started_s = 123.0
        made.finish(made.launch(staged, batch), batch)
        assert batch.started_s == 123.0

    def test_after_a_failed_batch_the_next_has_its_own_inputs(self, executor):
        class Fails(Tripled):
            def forward(self, inputs):
                if inputs.shape[0] == 4:
                    raise RuntimeError("no")
                return super().forward(inputs)

        made = executor(model=Vectors(Fails))
        for _ in range(3):
            with pytest.raises(RuntimeError, match="no"):
                run(made, vectors(4))
            for start in (10, 20):
                rows, _ = run(made, vectors(2, start))
                assert first_of(rows) == [3.0 * start, 3.0 * start + 3]

    def test_batches_staged_ahead_keep_their_own_inputs(self, executor):
        made = executor()
        starts = (10, 20, 30, 40)
        staged = [made.stage(vectors(2, start), BatchRecord(size=2)) for start in starts]
        for start, one in zip(starts, staged, strict=True):
            batch = BatchRecord(size=2)
            assert first_of(made.finish(made.launch(one, batch), batch)) == [
                3 * start,
                3 * start + 3,
            ]

    def test_outputs_may_be_several_tensors(self, executor):
        class Named(Vectors):
            def run(self, inputs):
                return {"triple": super().run(inputs), "same": (inputs,)}

            def split(self, outputs, count):
                return list(zip(outputs["triple"], outputs["same"][0], strict=True))

        rows, _ = run(executor(model=Named()), vectors(2, 5))
        assert [(float(a[0]), float(b[0])) for a, b in rows] == [(15, 5), (18, 6)]


class TestGraphs:
    def test_every_batch_size_gives_eagers_results(self, device, executor):
        made = executor(GRAPHS)
        for n in [8, 1, 5, 2, 7, 3, 6, 4, 8, 1]:
            rows, batch = run(made, vectors(n, 10 * n))
            assert first_of(rows) == [3.0 * (10 * n + i) for i in range(n)]
            padded = next(size for size in (1, 2, 4, 8) if size >= n)
            assert (batch.real_elements, batch.padded_elements) == (n, padded)
            assert batch.device_s == pytest.approx(KERNEL_S)
        assert device.replays == 10
        assert made.uncaptured == 0

    def test_a_batch_is_copied_straight_into_kept_inputs(self, device, executor):
        made = executor(GRAPHS)
        device.forget_peak()
        before = device.live
        for n in (8, 3, 5):
            run(made, vectors(n))
        assert device.peak == before

    def test_results_of_one_batch_survive_the_next(self, executor):
        made = executor(GRAPHS)
        rows, _ = run(made, vectors(4))
        run(made, vectors(4, 70))
        assert first_of(rows) == [0, 3, 6, 9]

    def test_a_batch_larger_than_the_largest_runs_eagerly_and_is_counted(self, executor):
        made = executor(GRAPHS)
        rows, batch = run(made, vectors(9))
        assert first_of(rows) == [3.0 * i for i in range(9)]
        assert made.uncaptured == 1
        assert np.isnan(batch.padded_elements)

    def test_inputs_of_another_type_run_eagerly_and_are_counted(self, executor):
        made = executor(GRAPHS)
        rows, _ = run(made, [payload.double() for payload in vectors(2)])
        assert first_of(rows) == [0, 3]
        assert made.uncaptured == 1

    def test_each_length_bucket_is_captured_and_other_lengths_run_eagerly(self, device, executor):
        made = executor(GRAPHS, Texts((4, 8)))
        assert len(device.captured) == 2 * 4
        for lengths, padded in [((3, 4, 1), 4), ((5, 8), 8), ((2,), 4)]:
            rows, batch = run(made, [torch.full((n,), 2) for n in lengths])
            assert [row.tolist() for row in rows] == [[2 * n, padded] for n in lengths]
            rows_run = next(size for size in (1, 2, 4, 8) if size >= len(lengths))
            assert batch.real_elements == sum(lengths)
            assert batch.padded_elements == rows_run * padded
        assert made.uncaptured == 0
        rows, _ = run(made, [torch.full((11,), 2)])
        assert [row.tolist() for row in rows] == [[22, 11]]
        assert made.uncaptured == 1

    def test_two_slots_have_graphs_of_their_own_and_overlap(self, device, executor):
        first = executor(GRAPHS)
        second = first.sibling()
        second.prepare()
        one, two = BatchRecord(size=3), BatchRecord(size=4)
        running = first.launch(first.stage(vectors(3), one), one)
        behind = second.launch(second.stage(vectors(4, 40), two), two)
        assert behind.queued
        assert first_of(second.finish(behind, two)) == [120, 123, 126, 129]
        assert first_of(first.finish(running, one)) == [0, 3, 6]
        assert len(set(device.captured)) == 2, "a memory pool for each"

    def test_the_time_and_the_memory_they_take_are_known(self, executor):
        made = executor(GRAPHS)
        assert made.engine_bytes >= 4 * 512, "an output for each size, and the inputs"
        assert made.engine_s >= 0
        eager = executor()
        assert (eager.engine_s, eager.engine_bytes) == (None, None)

    def test_sizes_that_do_not_fit_into_memory_are_refused_in_one_line(self, device, executor):
        class Wide(Tripled):
            def forward(self, inputs):
                return inputs.repeat(1, 1 << 20) * 3

        model = Vectors(Wide)
        model.prepare(ON_GPU)
        device.total_bytes -= device.free_bytes() - (150 << 20)
        with pytest.raises(ModelError, match=r"captured_batch_sizes must fit .* vectors at 8 ran"):
            executor(GRAPHS, model)

    def test_a_model_whose_outputs_are_no_batch_is_refused(self, executor):
        class Summed(Vectors):
            def run(self, inputs):
                return super().run(inputs).sum()

        with pytest.raises(ModelError, match=r"must have a model with outputs that are tensors"):
            executor(GRAPHS, Summed())

    def test_are_let_go_when_closed_and_made_anew_when_prepared(self, device, executor):
        made = executor(GRAPHS)
        made.close()
        assert made._graphs is None
        made.prepare()
        assert first_of(run(made, vectors(3))[0]) == [0, 3, 6]
        assert len(device.captured) == 8


@pytest.fixture
def streams(cuda):
    """Takes so many, and gives them back in the end."""
    taken = []

    def take(count=1):
        taken.extend(cuda.stream() for _ in range(count))
        return taken[-count:]

    yield take
    for stream in taken:
        cuda.give_back(stream)


class TestStreams:
    def test_go_back_when_nothing_uses_them_any_more(self, cuda, streams):
        first = CudaExecutor(Vectors(), ON_GPU, RealClock(), cuda)
        second = first.sibling()
        own = {first._copying, second._copying, first._shared.stream}
        assert len(own) == 3
        del first, second
        gc.collect()
        assert own == set(streams(3))

    def test_are_used_by_one_at_a_time_though_torch_hands_out_32_in_turn(self, streams):
        assert len(set(streams(40))) == 40

    def test_are_refused_when_there_are_no_more(self, streams):
        with pytest.raises(DeviceError, match="all of its 128 are in use"):
            streams(129)


class TestBehindTheBatcher:
    @pytest.mark.parametrize("in_flight", [1, 2])
    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.parametrize("engine", ["eager", "cudagraph"])
    def test_each_caller_gets_its_own_row(self, device, engine, in_flight, replicas):
        with DynamicBatcher(
            Vectors(),
            max_batch_size=8,
            batch_timeout_ms=1,
            device="cuda",
            engine=engine,
            in_flight=in_flight,
            replicas=replicas,
        ) as batcher:
            requests = [batcher.submit(torch.full((3,), float(i))) for i in range(200)]
            assert [float(r.result(30)[0]) for r in requests] == [3.0 * i for i in range(200)]
            cold = batcher.cold_start
        assert batcher.statistics().uncaptured_batches == 0
        slots = [slot for worker in batcher._workers for slot in worker.slots]
        assert all(slot.executor._graphs is None for slot in slots), "memory is given back"
        captured = 0 if engine == "eager" else in_flight * replicas * 6
        assert len(device.captured) == captured
        assert (cold.engine_s is None) == (engine == "eager")
        assert (cold.engine_bytes is None) == (engine == "eager")

    @pytest.mark.parametrize(
        ("engine", "threads"),
        [
            pytest.param("eager", 2, id="cuDNN keeps its choice by thread"),
            pytest.param("cudagraph", 1, id="a graph has its choice in it"),
        ],
    )
    def test_the_second_slot_runs_the_sizes_too_where_that_is_of_use(
        self, device, monkeypatch, engine, threads
    ):
        ran = []
        execute = CudaExecutor.execute

        def noted(executor, payloads, batch):
            ran.append((threading.get_ident(), len(payloads)))
            return execute(executor, payloads, batch)

        monkeypatch.setattr(CudaExecutor, "execute", noted)
        with DynamicBatcher(
            Vectors(), max_batch_size=4, device="cuda", engine=engine, in_flight=2
        ) as batcher:
            own = threading.get_ident()
            assert batcher.submit(torch.ones(3)).result(30)[0] == 3
        assert own not in {thread for thread, _ in ran}
        by_thread = {t: sorted({n for u, n in ran if u == t}) for t, _ in ran}
        assert list(by_thread.values()) == [[1, 2, 3, 4]] * threads

    def test_sizes_that_were_not_captured_are_counted(self, device):
        with DynamicBatcher(
            Vectors(),
            max_batch_size=8,
            device="cuda",
            engine="cudagraph",
            captured_batch_sizes=[4],
            warm_up_budget_s=0.0,
        ) as batcher:
            requests = [batcher.submit(torch.zeros(3)) for _ in range(8)]
            assert all(len(r.result(30)) == 3 for r in requests)
            uncaptured = sum(1 for b in {r.batch for r in requests} if b.size > 4)
            assert batcher.statistics().uncaptured_batches == uncaptured
