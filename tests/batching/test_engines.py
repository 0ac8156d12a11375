"""Engines: every one gives eager's results, for every batch size, with batches overlapping."""

import copy
import gc
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from batching import ConfigError, DynamicBatcher, ModelError, RealClock, load_model
from batching.cuda import TorchCuda
from batching.cuda_execution import CudaExecutor
from batching.devices import resolve_placement
from batching.execution import make_executor
from batching.models import AffineModel, Placement
from batching.models.contract import default_captured_sizes, is_channels_last
from batching.models.serving import Normalisation, Served
from batching.models.torch_model import TokenModel, TorchModel
from batching.request import BatchRecord
from batching.staging import PinnedRing
from tests.batching.fake_cuda import COPY_S, KERNEL_S, FakeCuda

ON_GPU = Placement("cuda:0")
GRAPHS = Placement("cuda:0", engine="cudagraph", captured_sizes=(1, 2, 4, 8))


class OnFake:
    """Runs on the CPU what is meant for a device that is only played."""

    def prepare(self, placement):
        super().prepare(replace(placement, device="cpu"))

    def run(self, inputs):
        self.cuda.kernel()
        return super().run(inputs)


class Tripled(torch.nn.Module):
    def forward(self, inputs):
        return inputs * 3


class Vectors(OnFake, TorchModel):
    """Gives each request its vector three times over."""

    def __init__(self, cuda, module=Tripled):
        super().__init__(module, lambda rng: torch.ones(3), name="vectors")
        self.cuda = cuda


class Counted(torch.nn.Module):
    def forward(self, input_ids, attention_mask):
        total = (input_ids * attention_mask).sum(1)
        return torch.stack([total, torch.full_like(total, input_ids.shape[1])], 1)


class Texts(OnFake, TokenModel):
    """Gives each request the sum of its text and the length it was padded to."""

    def __init__(self, cuda, length_buckets):
        super().__init__(
            Counted,
            lambda rng: torch.ones(5, dtype=torch.int64),
            name="texts",
            length_buckets=length_buckets,
        )
        self.cuda = cuda


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.fixture
def executor(cuda):
    def made(placement=ON_GPU, model=None):
        made = CudaExecutor(model or Vectors(cuda), placement, RealClock(), cuda)
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


class TestTheRing:
    def test_holds_a_batch_until_it_was_copied_while_the_next_is_collated(self, cuda):
        ring, stream, arrived = PinnedRing(cuda), cuda.stream(), []
        for start in (0, 10, 20, 30):
            ring.turn()
            staged = ring.stack("x", vectors(2, start))
            target = torch.zeros(2, 3)
            with cuda.on(stream):
                cuda.copy(target, staged)
            ring.copied(stream)
            arrived.append(target)
        stream.run_until(lambda: False)
        assert [first_of(target) for target in arrived] == [[0, 1], [10, 11], [20, 21], [30, 31]]

    def test_of_one_set_waits_for_the_copy_before_it_is_written_again(self, cuda):
        ring, stream = PinnedRing(cuda, 1), cuda.stream()
        ring.turn()
        target = torch.zeros(1, 3)
        with cuda.on(stream):
            cuda.copy(target, ring.stack("x", vectors(1, 7)))
        ring.copied(stream)
        assert first_of(target) == [0]
        ring.turn()
        assert first_of(target) == [7]

    def test_keeps_its_buffers_and_grows_them(self, cuda):
        ring = PinnedRing(cuda, 1)
        for size in (4, 1, 4, 3):
            ring.turn()
            ring.stack("x", vectors(size))
        assert cuda.pinned_blocks == 1
        ring.full("x", (9, 9), torch.float32, 1.0)
        ring.full("ids", (2, 2), torch.int64, 0)
        assert cuda.pinned_blocks == 3


class TestOnADevice:
    def test_each_request_gets_its_own_row_in_one_copy_a_batch(self, cuda, executor):
        made = executor()
        kept = []
        for n, start in [(1, 0), (5, 10), (3, 20), (8, 30)]:
            rows, _ = run(made, vectors(n, start))
            kept.append((n, start, rows))
        for n, start, rows in kept:
            assert first_of(rows) == [3.0 * (start + i) for i in range(n)]
        assert cuda.pinned_results == 4

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

    def test_after_a_failed_batch_the_next_has_its_own_inputs(self, cuda, executor):
        class Fails(Tripled):
            def forward(self, inputs):
                if inputs.shape[0] == 4:
                    raise RuntimeError("no")
                return super().forward(inputs)

        made = executor(model=Vectors(cuda, Fails))
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

    def test_outputs_may_be_several_tensors(self, cuda, executor):
        class Named(Vectors):
            def run(self, inputs):
                return {"triple": super().run(inputs), "same": (inputs,)}

            def split(self, outputs, count):
                return list(zip(outputs["triple"], outputs["same"][0], strict=True))

        rows, _ = run(executor(model=Named(cuda)), vectors(2, 5))
        assert [(float(a[0]), float(b[0])) for a, b in rows] == [(15, 5), (18, 6)]


class TestGraphs:
    @pytest.mark.parametrize(
        ("most", "sizes"),
        [
            (1, (1,)),
            (2, (1, 2)),
            (5, (1, 2, 3, 4, 6)),
            (32, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)),
            (33, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)),
        ],
    )
    def test_the_usual_sizes_are_powers_of_two_and_a_step_between(self, most, sizes):
        assert default_captured_sizes(most) == sizes

    def test_a_smaller_limit_captures_the_first_sizes_of_a_larger_one(self):
        largest = default_captured_sizes(1000)
        for most in range(1, 1000):
            sizes = default_captured_sizes(most)
            assert sizes == largest[: len(sizes)]
            assert sizes[-1] >= most

    def test_every_batch_size_gives_eagers_results(self, cuda, executor):
        made = executor(GRAPHS)
        for n in [8, 1, 5, 2, 7, 3, 6, 4, 8, 1]:
            rows, batch = run(made, vectors(n, 10 * n))
            assert first_of(rows) == [3.0 * (10 * n + i) for i in range(n)]
            padded = next(size for size in (1, 2, 4, 8) if size >= n)
            assert (batch.real_elements, batch.padded_elements) == (n, padded)
            assert batch.device_s == pytest.approx(KERNEL_S)
        assert cuda.replays == 10
        assert made.uncaptured == 0

    def test_a_batch_is_copied_straight_into_kept_inputs(self, cuda, executor):
        made = executor(GRAPHS)
        before = cuda.on_device
        for n in (8, 3, 5):
            run(made, vectors(n))
        assert cuda.on_device == before == 1

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

    def test_each_length_bucket_is_captured_and_other_lengths_run_eagerly(self, cuda, executor):
        made = executor(GRAPHS, Texts(cuda, (4, 8)))
        assert len(cuda.captured) == 2 * 4
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

    def test_two_slots_have_graphs_of_their_own_and_overlap(self, cuda, executor):
        first = executor(GRAPHS)
        second = first.sibling()
        second.prepare()
        one, two = BatchRecord(size=3), BatchRecord(size=4)
        running = first.launch(first.stage(vectors(3), one), one)
        behind = second.launch(second.stage(vectors(4, 40), two), two)
        assert behind.queued
        assert first_of(second.finish(behind, two)) == [120, 123, 126, 129]
        assert first_of(first.finish(running, one)) == [0, 3, 6]
        assert len(set(map(id, cuda.captured))) == 2, "a memory pool for each"

    def test_the_time_and_the_memory_they_take_are_known(self, executor):
        made = executor(GRAPHS)
        assert made.engine_bytes == 400
        assert made.engine_s >= 0
        eager = executor()
        assert (eager.engine_s, eager.engine_bytes) == (None, None)

    def test_the_device_is_waited_for_only_while_nobody_captures(self, cuda):
        captures = threading.Lock()
        waits = []
        cuda.capturing = lambda: captures
        cuda.synchronize = lambda: waits.append(captures.locked())
        CudaExecutor(Vectors(cuda), GRAPHS, RealClock(), cuda).prepare()
        assert len(waits) == 2
        assert all(waits)

    def test_a_model_that_cannot_be_captured_is_refused_in_one_line(self, cuda):
        cuda.capture_error = RuntimeError("operation not permitted when capturing\nSome advice.")
        made = CudaExecutor(Vectors(cuda), GRAPHS, RealClock(), cuda)
        with pytest.raises(ModelError) as refused:
            made.prepare()
        assert str(refused.value) == (
            "engine cudagraph must have a model with operations that can be captured, but vectors "
            "at a batch of 8 gave RuntimeError: operation not permitted when capturing"
        )

    def test_sizes_that_do_not_fit_into_memory_are_refused_in_one_line(self, cuda):
        cuda.capture_error = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
        with pytest.raises(ModelError, match=r"captured_batch_sizes must fit .* vectors at 8 ran"):
            CudaExecutor(Vectors(cuda), GRAPHS, RealClock(), cuda).prepare()

    def test_a_model_whose_outputs_are_no_batch_is_refused(self, cuda):
        class Summed(Vectors):
            def run(self, inputs):
                return super().run(inputs).sum()

        with pytest.raises(ModelError, match=r"must have a model with outputs that are tensors"):
            CudaExecutor(Summed(cuda), GRAPHS, RealClock(), cuda).prepare()

    def test_are_let_go_when_closed_and_made_anew_when_prepared(self, cuda, executor):
        made = executor(GRAPHS)
        made.close()
        assert made._graphs is None
        made.prepare()
        assert first_of(run(made, vectors(3))[0]) == [0, 3, 6]
        assert len(cuda.captured) == 8


class TestStreams:
    def test_go_back_when_nothing_uses_them_any_more(self, cuda):
        first = CudaExecutor(Vectors(cuda), ON_GPU, RealClock(), cuda)
        second = first.sibling()
        own = {first._copying, second._copying}
        shared = first._shared.stream
        del first
        gc.collect()
        assert len(cuda.given_back) == 1
        assert shared not in cuda.given_back
        del second
        gc.collect()
        assert set(cuda.given_back) == {*own, shared}

    def test_are_used_again_and_by_one_at_a_time(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.Stream", lambda device: object())
        cuda, other = TorchCuda("cuda:98"), TorchCuda("cuda:99")
        first = cuda.stream()
        assert cuda.stream() is not first
        cuda.give_back(first)
        assert other.stream() is not first
        assert cuda.stream() is first
        assert cuda.stream() is not first


class TestBehindTheBatcher:
    @pytest.fixture
    def device(self, monkeypatch, cuda):
        monkeypatch.setattr("batching.cuda.TorchCuda", lambda _: cuda)
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        return cuda

    @pytest.mark.parametrize("in_flight", [1, 2])
    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.parametrize("engine", ["eager", "cudagraph"])
    def test_each_caller_gets_its_own_row(self, device, engine, in_flight, replicas):
        with DynamicBatcher(
            Vectors(device),
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
        assert cold.engine_bytes == (None if engine == "eager" else 100 * captured)

    def test_sizes_that_were_not_captured_are_counted(self, device):
        with DynamicBatcher(
            Vectors(device),
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


class TestCompiled:
    def compiled(self, backend, module=None):
        model = TorchModel(
            lambda: module or torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()),
            lambda rng: torch.ones(3),
            name="small",
            compiler=backend,
        )
        return make_executor(model, Placement(engine="compile"), RealClock())

    def test_gives_eagers_results_and_compiles_nothing_after_it_is_prepared(self):
        compilations = []

        def backend(graph, inputs):
            compilations.append(inputs)
            return graph.forward

        made = self.compiled(backend)
        made.prepare()
        assert made.engine_s > 0
        assert len(compilations) == 2, "one for a size of 1, one for all others"
        for n in (1, 2, 3, 8, 17):
            rows, _ = run(made, vectors(n))
            with torch.inference_mode():
                wanted = made.model._module(torch.stack(vectors(n)))
            torch.testing.assert_close(torch.stack(tuple(rows)), wanted)
        assert len(compilations) == 2

    @pytest.mark.parametrize(("buckets", "most"), [((), 2), ((4, 8), 4)])
    def test_texts_of_any_length_need_no_further_compilation(self, buckets, most):
        compilations = []

        def backend(graph, inputs):
            compilations.append(inputs)
            return graph.forward

        model = TokenModel(
            Counted,
            lambda rng: torch.ones(5, dtype=torch.int64),
            name="texts",
            length_buckets=buckets,
            compiler=backend,
        )
        made = make_executor(model, Placement(engine="compile"), RealClock())
        made.prepare()
        prepared = len(compilations)
        assert prepared <= most
        for lengths in [(3, 2), (7,), (8, 8, 1), (4,)]:
            rows, _ = run(made, [torch.full((n,), 2) for n in lengths])
            assert [int(row[0]) for row in rows] == [2 * n for n in lengths]
        assert len(compilations) == prepared

    def test_compiles_every_model_however_many_there_were_before(self):
        for _ in range(6):
            compilations = []

            def backend(graph, inputs, compilations=compilations):
                compilations.append(inputs)
                return graph.forward

            self.compiled(backend).prepare()
            assert len(compilations) == 2

    def test_batches_go_on_while_another_thread_compiles(self):
        made = self.compiled(lambda graph, inputs: graph.forward)
        made.prepare()
        answered = []

        def compile_meanwhile(inputs):
            thread = threading.Thread(target=lambda: answered.append(run(made, vectors(2))[0]))
            thread.start()
            thread.join()
            return inputs

        make_fx(compile_meanwhile)(torch.ones(1))
        with torch.inference_mode():
            wanted = made.model._module(torch.stack(vectors(2)))
        torch.testing.assert_close(torch.stack(tuple(answered[0])), wanted)

    def test_where_it_cannot_be_done_is_refused_in_one_line(self):
        def backend(graph, inputs):
            raise RuntimeError("no compiler\nhere")

        with pytest.raises(ModelError, match="must be able to compile small here") as refused:
            self.compiled(backend).prepare()
        assert "\n" not in str(refused.value)
        assert "no compiler here" in str(refused.value)

    def test_a_model_that_does_not_heed_it_is_refused(self):
        class Own(AffineModel):
            uses_torch = True

        with pytest.raises(ConfigError, match="must have a model that can be compiled"):
            make_executor(Own(0.1, 0.1, RealClock()), Placement(engine="compile"), RealClock())

    def test_a_model_without_torch_is_refused(self):
        with pytest.raises(ConfigError, match="engine compile must have a torch model"):
            DynamicBatcher(lambda payloads: payloads, engine="compile")


class TestPlacing:
    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"engine": "fast"}, "engine must be one of eager, cudagraph, compile, but got 'fast'"),
            ({"engine": "cudagraph"}, "engine cudagraph must have a CUDA device, but got 'cpu'"),
            ({"captured_sizes": [4]}, "captured_batch_sizes go with engine cudagraph"),
        ],
    )
    def test_what_cannot_be_is_refused(self, asked, message):
        with pytest.raises(ConfigError, match=message):
            resolve_placement("cpu", **asked)

    def test_sizes_are_put_in_order_and_must_be_positive(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        found = resolve_placement("cuda", engine="cudagraph", captured_sizes=[8, 2, 8])
        assert found.for_batches(99).captured_sizes == (2, 8)
        with pytest.raises(ConfigError, match="captured_batch_sizes must be >= 1, but got 0"):
            resolve_placement("cuda", engine="cudagraph", captured_sizes=[0])


class TestTheModelsSide:
    def test_images_of_bytes_give_what_normalised_floats_give(self):
        means, stds = (0.2, 0.4, 0.6), (0.1, 0.5, 0.25)
        served = Served(torch.nn.Identity(), torch.float32, Normalisation(means, stds))
        images = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).to(torch.uint8)
        mean, std = (torch.tensor(x)[:, None, None] for x in (means, stds))
        wanted = (images.float() / 255 - mean) / std
        torch.testing.assert_close(served(images), wanted)
        torch.testing.assert_close(served(wanted), wanted)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_normalises_to_its_own_precision(self, dtype):
        plain = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        images = torch.arange(3 * 256).reshape(1, 3, 16, 16).to(torch.uint8)
        exact = Served(torch.nn.Identity(), torch.float32, plain)(images)
        found = Served(torch.nn.Identity(), dtype, plain).to(dtype)(images)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), exact, rtol=2e-2, atol=2e-2)

    def test_channels_last_changes_the_layout_and_not_the_results(self):
        def made(channels_last):
            torch.manual_seed(0)
            model = TorchModel(
                lambda: torch.nn.Conv2d(3, 4, 3), lambda rng: torch.ones(3, 6, 6), name="conv"
            )
            ready = make_executor(model, Placement(channels_last=channels_last), RealClock())
            ready.prepare()
            return ready

        rng = np.random.default_rng(0)
        payloads = [torch.from_numpy(rng.random((3, 6, 6), dtype=np.float32)) for _ in range(4)]
        first, last = made(False), made(True)
        assert last.model._module.weight.is_contiguous(memory_format=torch.channels_last)
        assert not first.model._module.weight.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(
            torch.stack(tuple(run(first, payloads)[0])), torch.stack(tuple(run(last, payloads)[0]))
        )

    def test_channels_go_last_by_themselves_for_convolutions_in_half_precision_on_a_gpu(self):
        resnet, vit = (load_model(name, clock=RealClock()) for name in ("resnet50", "vit-b16"))
        half = Placement("cuda:0", "fp16")
        assert is_channels_last(resnet, half)
        assert not is_channels_last(vit, half)
        assert not is_channels_last(resnet, Placement("cuda:0", "fp32"))
        assert not is_channels_last(resnet, Placement("cpu", "bf16"))
        assert not is_channels_last(resnet, replace(half, channels_last=False))
        assert is_channels_last(vit, replace(half, channels_last=True))

    @pytest.mark.parametrize("name", ["resnet50", "vit-b16"])
    def test_images_come_as_bytes_or_as_floats(self, name):
        rng = np.random.default_rng(0)
        assert load_model(name, clock=RealClock()).make_input(rng).dtype == torch.uint8
        floats = load_model(f"{name}-float", clock=RealClock())
        assert floats.make_input(rng).dtype == torch.float32
        assert floats.name == f"{name}-float"

    def test_a_copy_for_another_device_is_not_loaded(self):
        model = load_model("mlp", clock=RealClock())
        model.prepare(Placement())
        other = copy.deepcopy(model)
        assert other._module is None
        assert model._module is not None
        assert other.make_input(np.random.default_rng(0)).shape == (1024,)

    def test_is_built_once_however_many_threads_prepare_it(self):
        built, barrier = [], threading.Barrier(4)

        def build():
            built.append(1)
            return torch.nn.Identity()

        model = TorchModel(build, lambda rng: torch.ones(3), name="once")

        def prepare(sizes):
            barrier.wait()
            model.prepare(Placement(captured_sizes=sizes))

        threads = [threading.Thread(target=prepare, args=((n,),)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(built) == 1
