"""Engines: compiling, what is captured, and what a model does to a batch around its module."""

import copy
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from batching import ConfigError, DynamicBatcher, ModelError, RealClock, load_model
from batching.execution.choose import make_executor
from batching.execution.devices import resolve_placement
from batching.models import AffineModel, Placement
from batching.models.contract import default_captured_sizes, is_channels_last
from batching.models.serving import Normalisation, Served
from batching.models.torch_model import TokenModel, TorchModel
from batching.request import BatchRecord


def vectors(count, start=0):
    return [torch.full((3,), float(start + i)) for i in range(count)]


def run(executor, payloads):
    batch = BatchRecord(size=len(payloads))
    return executor.execute(payloads, batch), batch


class Counted(torch.nn.Module):
    def forward(self, input_ids, attention_mask):
        total = (input_ids * attention_mask).sum(1)
        return torch.stack([total, torch.full_like(total, input_ids.shape[1])], 1)


class TestCapturedSizes:
    @pytest.mark.parametrize(
        ("most", "sizes"),
        [
            (1, (1,)),
            (2, (1, 2)),
            (5, (1, 2, 3, 4, 6)),
            (32, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)),
            (33, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)),
            (65, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72)),
        ],
    )
    def test_are_close_together_so_that_little_is_padded(self, most, sizes):
        assert default_captured_sizes(most) == sizes

    def test_pad_a_large_batch_by_a_few_percent(self):
        sizes = default_captured_sizes(1024)
        for begin, end in ((65, 128), (129, 256), (513, 1024)):
            padded = [
                next(size for size in sizes if size >= n) / n - 1 for n in range(begin, end + 1)
            ]
            assert sum(padded) / len(padded) < 0.05
        assert len(default_captured_sizes(128)) == 22

    def test_a_smaller_limit_captures_the_first_sizes_of_a_larger_one(self):
        largest = default_captured_sizes(1000)
        for most in range(1, 1000):
            sizes = default_captured_sizes(most)
            assert sizes == largest[: len(sizes)]
            assert sizes[-1] >= most


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

    def test_channels_go_last_of_images_only(self):
        served = Served(torch.nn.Identity(), torch.float32, channels_last=True)
        image, vector = torch.ones(2, 3, 4, 5), torch.ones(2, 7)
        found = served((image,))
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert served(vector).shape == (2, 7)

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
