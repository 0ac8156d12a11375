"""Models: built in, synthetic, of one's own, and what running them through an executor records."""

import math
import sys

import numpy as np
import pytest
import torch

from batching import ConfigError, DeviceError, DynamicBatcher, ModelError, RealClock, VirtualClock
from batching.execution.choose import make_executor
from batching.execution.devices import resolve_placement, usable_cores
from batching.execution.probe import PROBE_SIZES, probe, sustained_peak_rps
from batching.models import Model, Placement, load_model
from batching.models.torch_model import TokenModel, TorchModel
from batching.request import BatchRecord

ON_CPU = Placement()


def load(spec, **options):
    return load_model(spec, clock=VirtualClock(), **options)


def executed(model, payloads, placement=ON_CPU):
    executor = make_executor(model, placement, RealClock())
    executor.prepare()
    batch = BatchRecord(size=len(payloads))
    return executor.execute(payloads, batch), batch


def small_text_model():
    class Sum(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return (input_ids * attention_mask).sum(1, keepdim=True)

    return TokenModel(
        Sum, lambda rng: torch.from_numpy(rng.integers(1, 9, size=rng.integers(1, 9))), name="sum"
    )


class TestBuiltIn:
    def test_mlp_gives_each_request_the_row_it_would_get_alone(self):
        model = load("mlp")
        rng = np.random.default_rng(0)
        payloads = [model.make_input(rng) for _ in range(5)]
        together, _ = executed(model, payloads)
        for payload, row in zip(payloads, together, strict=True):
            [alone], _ = executed(model, [payload])
            torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-5)
        assert together[0].shape == (1024,)

    def test_mlp_loads_weights_from_a_local_file(self, tmp_path):
        source = load("mlp")
        rng = np.random.default_rng(0)
        payload = source.make_input(rng)
        [expected], _ = executed(source, [payload])
        torch.save(source._module.state_dict(), tmp_path / "mlp.pt")
        [loaded], _ = executed(load("mlp", weights=tmp_path / "mlp.pt"), [payload])
        torch.testing.assert_close(loaded, expected)

    def test_a_transformers_model_loads_from_a_local_folder(self, tmp_path):
        from transformers import ResNetConfig, ResNetForImageClassification

        tiny = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=3)
        ResNetForImageClassification(tiny).save_pretrained(tmp_path)
        model = load("resnet50", weights=tmp_path)
        [row], _ = executed(model, [model.make_input(np.random.default_rng(0))])
        assert row.shape == (3,)

    @pytest.mark.parametrize("spec", ["resnet50", "vit-b16", "bert-base"])
    def test_a_transformers_model_runs_two_different_requests(self, spec):
        model = load(spec)
        rng = np.random.default_rng(1)
        rows, batch = executed(model, [model.make_input(rng), model.make_input(rng)])
        assert len(rows) == 2
        assert torch.isfinite(torch.stack(tuple(rows))).all()
        assert batch.completed_s > batch.started_s

    def test_made_inputs_are_the_same_for_the_same_seed(self):
        for spec in ("mlp", "bert-base"):
            a, b = (load(spec).make_input(np.random.default_rng(3)) for _ in range(2))
            assert torch.equal(a, b)

    @pytest.mark.parametrize(
        ("name", "mean", "std"),
        [
            ("resnet50", "IMAGENET_DEFAULT_MEAN", "IMAGENET_DEFAULT_STD"),
            ("vit-b16", "IMAGENET_STANDARD_MEAN", "IMAGENET_STANDARD_STD"),
        ],
    )
    def test_images_of_bytes_are_normalised_as_transformers_does(self, name, mean, std):
        from transformers import image_utils

        class Echo(torch.nn.Module):
            def forward(self, pixels):
                return {"logits": pixels}

        model = load(name)
        model._build = Echo
        image = model.make_input(np.random.default_rng(0))
        assert (image.shape, image.dtype) == ((3, 224, 224), torch.uint8)
        assert (image.min(), image.max()) == (0, 255)
        [found], _ = executed(model, [image])
        mean, std = (torch.tensor(getattr(image_utils, n))[:, None, None] for n in (mean, std))
        torch.testing.assert_close(found, (image / 255 - mean) / std)

    def test_texts_are_of_log_normal_length_as_documented(self):
        model = load("bert-base")
        rng = np.random.default_rng(0)
        texts = [model.make_input(rng) for _ in range(4000)]
        lengths = np.array([len(text) for text in texts])
        assert (lengths.min(), lengths.max()) == (8, 128)
        assert np.median(lengths) == pytest.approx(48, abs=1.5)
        # One standard deviation of the logarithm, 0.6, above and below the median.
        assert np.quantile(lengths, (0.159, 0.841)) == pytest.approx((26.3, 87.5), rel=0.04)
        ids = torch.cat(texts)
        assert (ids.min(), ids.max(), ids.dtype) == (1000, 29999, torch.int64)

    @pytest.mark.parametrize("said", ["", "no such layer\nand more"])
    def test_a_checkpoint_that_cannot_be_read_is_refused_in_one_line(
        self, tmp_path, monkeypatch, said
    ):
        import transformers

        def refuse(folder, local_files_only):
            raise OSError(said)

        monkeypatch.setattr(transformers.ViTForImageClassification, "from_pretrained", refuse)
        with pytest.raises(ModelError) as refused:
            executed(load("vit-b16", weights=tmp_path), [torch.zeros(3, 224, 224)])
        assert str(refused.value) == (
            f"weights {str(tmp_path)!r} cannot be loaded: {said.partition(chr(10))[0] or 'OSError'}"
        )

    def test_bf16_runs_on_the_cpu(self):
        model = load("mlp")
        payload = model.make_input(np.random.default_rng(0))
        [row], _ = executed(model, [payload], Placement("cpu", "bf16"))
        assert row.dtype == torch.bfloat16


class TestTokens:
    def test_padding_is_masked_out_and_counted(self):
        model = small_text_model()
        payloads = [torch.tensor([1, 2, 3, 4]), np.array([5])]
        rows, batch = executed(model, payloads)
        assert [int(row) for row in rows] == [10, 5]
        assert (batch.real_elements, batch.padded_elements) == (5, 8)

    def test_fixed_shapes_have_no_padding_to_count(self):
        model = load("mlp")
        _, batch = executed(model, [model.make_input(np.random.default_rng(0))])
        assert math.isnan(batch.padded_elements)


class TestSpecs:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("resnet", "model must be one of mlp, resnet50"),
            ("", "model must be one of"),
            ("affine", "model affine takes a,b in milliseconds, but got ''"),
            ("affine:5", "model affine takes a,b in milliseconds, each >= 0, but got '5'"),
            ("affine:5,x", "model affine takes a,b in milliseconds, but got '5,x'"),
            ("affine:-1,2", "each >= 0, but got '-1,2'"),
            ("affine:nan,2", "each >= 0, but got 'nan,2'"),
            ("affine:0,0", "not all zero"),
            ("roofline:1,2", "model roofline takes overhead,floor,item in milliseconds"),
            ("nowhere.py:make", "model file must exist, but got 'nowhere.py'"),
            ("no_such_module:make", "model module 'no_such_module' cannot be imported"),
            ("json:nothing", "json must define a function 'nothing', but it does not"),
            ("json:JSONDecoder", "must return a batching.Model"),
        ],
    )
    def test_a_spec_that_names_nothing_says_what_was_expected(self, spec, message):
        with pytest.raises(ModelError) as caught:
            load(spec)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_weights_must_exist_and_go_with_a_built_in_model(self, tmp_path):
        with pytest.raises(ModelError, match="weights must be a local file or folder"):
            load("mlp", weights=tmp_path / "none.pt")
        with pytest.raises(ModelError, match="weights go with a model of"):
            load("affine:1,1", weights=tmp_path)

    def test_weights_of_another_model_are_refused_in_one_line(self, tmp_path):
        torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
        with pytest.raises(ModelError, match="do not fit Sequential") as caught:
            load("mlp", weights=tmp_path / "other.pt").prepare(Placement())
        assert "\n" not in str(caught.value)

    def test_a_file_of_ones_own_gives_a_model(self, tmp_path):
        (tmp_path / "mine.py").write_text(
            "import torch\n"
            "from batching.models.torch_model import TorchModel\n"
            "def make():\n"
            "    return TorchModel(lambda: torch.nn.Linear(4, 2), lambda rng: torch.ones(4),"
            " name='mine')\n"
        )
        model = load(f"{tmp_path}/mine.py:make")
        assert isinstance(model, Model)
        [row], _ = executed(model, [torch.ones(4)])
        assert row.shape == (2,)

    def test_a_results_folder_beside_the_users_file_does_not_shadow_ours(self, tmp_path):
        import results

        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "__init__.py").write_text("theirs = True\n")
        (tmp_path / "mine.py").write_text("import results\nmake = lambda: results\n")
        with pytest.raises(ModelError, match="but got module"):
            load(f"{tmp_path}/mine.py:make")
        assert sys.modules["results"] is results
        assert not hasattr(results, "theirs")

    def test_a_file_that_fails_to_import_is_reported_in_one_line(self, tmp_path):
        (tmp_path / "bad.py").write_text("def make(:\n")
        with pytest.raises(ModelError, match="cannot be imported: SyntaxError"):
            load(f"{tmp_path}/bad.py:make")

    @pytest.mark.parametrize(
        ("code", "line"),
        [
            ("def make():\n    raise OSError('no\\ndisk')\n", 2),
            ("def disk():\n    raise OSError('no disk')\n\ndef make():\n    disk()\n", 2),
            ("import json\n\ndef make():\n    return json.loads('{')\n", 4),
            ("from batching.models import AffineModel\nmake = lambda: AffineModel(1)\n", 2),
        ],
        ids=["itself", "a function of its own", "in the standard library", "in ours"],
    )
    def test_a_factory_that_raises_is_reported_with_file_and_line(self, tmp_path, code, line):
        path = tmp_path / "bad.py"
        path.write_text(code)
        with pytest.raises(ModelError, match="must return a model, but it raised") as caught:
            load(f"{path}:make")
        assert str(caught.value).endswith(f"({path}, line {line})")
        assert "\n" not in str(caught.value)

    def test_a_file_that_raises_when_it_is_imported_is_reported_with_its_line(self, tmp_path):
        path = tmp_path / "bad.py"
        path.write_text("x = 1\ny = x.lost\n")
        with pytest.raises(ModelError, match="cannot be imported: AttributeError") as caught:
            load(f"{path}:make")
        assert str(caught.value).endswith(f"({path}, line 2)")


class TestDevices:
    @pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
    def test_an_unknown_device_is_refused(self, device):
        with pytest.raises(DeviceError, match="device must be auto, cpu, cuda or cuda:<index>"):
            resolve_placement(device)

    def test_an_unknown_dtype_is_refused(self):
        with pytest.raises(ConfigError, match="dtype must be one of fp32, fp16, bf16"):
            resolve_placement("cpu", "int8")

    def test_a_cuda_device_that_is_not_there_is_refused(self):
        with pytest.raises(DeviceError, match="device must exist on this machine"):
            resolve_placement("cuda:97")

    def test_torch_leaves_a_core_to_the_batcher(self):
        executed(load("mlp"), [torch.zeros(1024)])
        assert torch.get_num_threads() == max(1, usable_cores() - 1)


class TestProbe:
    def test_peak_is_the_best_rate_among_the_probed_sizes(self):
        clock = VirtualClock()
        executor = make_executor(load_model("affine:5,0.1", clock=clock), Placement(), clock)
        executor.prepare()
        found = probe(executor, clock, 32)
        assert set(found.batch_s) == set(PROBE_SIZES)
        assert found.peak_batch_size == 32
        assert found.peak_rps == pytest.approx(32 / 0.0082)

    @pytest.mark.parametrize(
        ("spec", "sustained_rps"),
        [
            pytest.param("affine:0,0.25", math.inf, id="4,000 a second cost little to submit"),
            pytest.param("affine:0,0.1", 10_000, id="of 10,000 a second a row is tried"),
        ],
    )
    def test_only_a_fast_model_is_tried_with_a_row_of_batches(self, spec, sustained_rps):
        clock = VirtualClock()
        executor = make_executor(load_model(spec, clock=clock), Placement(), clock)
        found = probe(executor, clock, 32)
        assert found.sustained_rps == pytest.approx(sustained_rps)

    @pytest.mark.parametrize(
        ("asked", "tried"),
        [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (64, list(PROBE_SIZES))],
    )
    def test_no_size_above_the_largest_that_is_asked_for_is_tried(self, asked, tried):
        clock = VirtualClock()
        executor = make_executor(load_model("affine:5,0.1", clock=clock), Placement(), clock)
        assert list(probe(executor, clock, asked).batch_s) == tried

    def test_a_slow_model_is_judged_by_the_sizes_done_within_the_budget(self):
        clock = VirtualClock()
        executor = make_executor(load_model("affine:0,900", clock=clock), Placement(), clock)
        executor.prepare()
        found = probe(executor, clock, 32)
        assert max(found.batch_s) == 4
        assert found.peak_rps == pytest.approx(1 / 0.9)

    @pytest.mark.parametrize(
        ("times_s", "batch_s", "runs"),
        [
            pytest.param([5, 0.01, 0.03] + [0.02] * 7, 0.02, 10, id="nine samples but the first"),
            pytest.param([5, 0.25, 0.15, 9], 0.2, 3, id="0.3 s of samples"),
        ],
    )
    def test_of_each_size_the_median_of_its_samples_counts(self, times_s, batch_s, runs):
        clock = VirtualClock(1000.0)
        model = load_model("affine:5,0", clock=clock)
        left = iter(times_s)
        model.batch_s = lambda size: next(left)
        found = probe(make_executor(model, Placement(), clock), clock, 1)
        assert found.batch_s == {1: pytest.approx(batch_s)}
        assert len(list(left)) == len(times_s) - runs

    @pytest.mark.parametrize(
        ("size", "batches"),
        [
            pytest.param(4, 512, id="512 batches"),
            pytest.param(48, 342, id="as many requests as 512 of the largest size that is tried"),
        ],
    )
    def test_a_row_of_batches_is_of_so_many(self, size, batches):
        clock = VirtualClock(1000.0)
        model = load_model("affine:0,0.1", clock=clock)
        seen = []
        model.split = lambda outputs, count: seen.append(count) or outputs
        executor = make_executor(model, Placement(), clock)
        executor.prepare()
        assert sustained_peak_rps(executor, clock, 1e6, size) == pytest.approx(10_000)
        assert seen == [size] * (1 + batches)


class TestSustainedPeak:
    @pytest.mark.parametrize(
        ("stated_rps", "size", "found_rps"),
        [
            pytest.param(1e6, 32, 10_000, id="the batcher serves no more of this model"),
            pytest.param(6_000, 32, 6_000, id="it could serve more than was stated"),
            pytest.param(1e6, 4096, 10_000, id="batches so large that a few will do"),
        ],
    )
    def test_is_what_was_stated_as_far_as_a_row_of_batches_reaches_it(
        self, stated_rps, size, found_rps
    ):
        clock = VirtualClock()
        executor = make_executor(load_model("affine:0,0.1", clock=clock), Placement(), clock)
        executor.prepare()
        found = sustained_peak_rps(executor, clock, stated_rps, size)
        assert found == pytest.approx(found_rps)
        assert clock.now() < 5

    def test_of_a_slow_model_is_as_stated_and_nothing_is_run(self):
        clock = VirtualClock()
        executor = make_executor(load_model("affine:0,900", clock=clock), Placement(), clock)
        assert sustained_peak_rps(executor, clock, 4_000, 32) == 4_000
        assert clock.now() == 0


def test_what_an_executor_keeps_goes_with_its_batcher():
    model = TorchModel(torch.nn.Identity, lambda rng: torch.zeros(3), name="identity")
    with DynamicBatcher(model, max_batch_size=2, device="cpu", in_flight=2) as batcher:
        executors = [slot.executor for worker in batcher._workers for slot in worker.slots]
        assert all(executor._staging is not None for executor in executors)
    assert all(executor._staging is None for executor in executors)


def test_a_torch_model_served_by_the_batcher_gives_each_caller_its_own_row():
    model = TorchModel(torch.nn.Identity, lambda rng: torch.zeros(3), name="identity")
    with DynamicBatcher(model, max_batch_size=8, batch_timeout_ms=1, device="cpu") as batcher:
        requests = [batcher.submit(torch.full((3,), float(i))) for i in range(100)]
        assert [r.result(30)[0].item() for r in requests] == list(range(100))
