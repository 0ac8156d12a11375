"""Telemetry of several GPUs, peaks of chips, the work of a request."""

import threading
from math import isnan, nan
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from batching import RealClock, VirtualClock, load_model
from batching.execution.flops import count_flops
from batching.models import Placement
from batching.models.torch_model import TokenModel, TorchModel
from batching.profiles import ServiceProfile, Subject
from bench.hardware import devices
from bench.hardware.devices import device_facts, rounds_to_tf32
from bench.hardware.nvml import Others
from bench.hardware.peaks import CHIPS, Peak, peak_of
from bench.live.session import Session
from bench.live.telemetry import Telemetry
from bench.profiling.summary import Work
from bench.settings import load_settings
from results.run.logs import TELEMETRY

ON_CPU = Placement()


class ScriptedGpu:
    """Gives reading after reading; what it reads is its spec."""

    def __init__(self, power_w, others=None):
        self.power_w = power_w
        self.asked_for_others = 0
        self.enough = threading.Event()
        self.readings = 0
        self._others = others or Others(0, 0.0)

    def sample(self):
        self.readings += 1
        if self.readings == 3:
            self.enough.set()
        return {"gpu_power_w": self.power_w, "gpu_energy_j": self.power_w * self.readings}

    def others(self):
        self.asked_for_others += 1
        return self._others


class TestTelemetry:
    @pytest.fixture
    def two(self):
        return {"cuda:0": ScriptedGpu(100.0), "cuda:1": ScriptedGpu(300.0, Others(1, nan))}

    def sampled(self, gpus):
        counts = SimpleNamespace(queue_depth=5, in_flight=2)
        telemetry = Telemetry(RealClock(), lambda: counts, gpus)
        with telemetry:
            for gpu in gpus.values():
                assert gpu.enough.wait(30)
        return TELEMETRY.validated(telemetry.frame(0.0))

    def test_has_rows_of_the_process_and_rows_of_each_gpu(self, two):
        frame = self.sampled(two)
        assert set(frame["device"]) == {"", "cuda:0", "cuda:1"}
        host, second = frame[frame["device"] == ""], frame[frame["device"] == "cuda:1"]
        assert set(host["queue_depth"]) == {5.0}
        assert host["gpu_power_w"].isna().all()
        assert set(second["gpu_power_w"]) == {300.0}
        assert second["queue_depth"].isna().all()
        assert second["gpu_sm_clock_mhz"].isna().all()

    def test_reads_the_gpus_before_the_first_row_of_the_process(self, two):
        frame = self.sampled(two)
        assert list(frame["device"][:3]) == ["cuda:0", "cuda:1", ""]

    def test_lists_other_processes_once_in_ten_samples(self, two):
        frame = self.sampled(two)
        gpu = two["cuda:1"]
        assert gpu.asked_for_others == -(-gpu.readings // 10)
        second = frame[frame["device"] == "cuda:1"]
        assert second["gpu_other_processes"].notna().sum() == gpu.asked_for_others

    def test_of_a_machine_without_a_gpu_is_of_the_process_alone(self):
        telemetry = Telemetry(RealClock(), lambda: SimpleNamespace(queue_depth=0, in_flight=0))
        with telemetry:
            pass
        assert len(TELEMETRY.validated(telemetry.frame(0.0))) == 0


class TestPeaks:
    @pytest.mark.parametrize(
        ("name", "dtype", "tf32", "tflops"),
        [
            ("NVIDIA H100 80GB HBM3", "fp16", False, 989.4),
            ("NVIDIA H100 80GB HBM3", "bf16", False, 989.4),
            ("NVIDIA H100 80GB HBM3", "fp32", False, 66.9),
            ("NVIDIA H100 80GB HBM3", "fp32", True, 494.7),
            ("NVIDIA H100 80GB HBM3", "fp16", True, 989.4),  # tf32 is of fp32 work only
            ("NVIDIA H100 PCIe", "fp16", False, 756),
            ("NVIDIA H100 NVL", "fp16", False, 835.5),
            ("NVIDIA H200", "fp16", False, 989.4),
            ("NVIDIA A100-SXM4-80GB", "fp32", True, 156),
            ("NVIDIA A100 80GB PCIe", "bf16", False, 312),
            ("NVIDIA L4", "fp16", False, 121),
            ("NVIDIA L40S", "fp16", False, 362.05),
            ("Tesla T4", "fp16", False, 65),
            ("Tesla T4", "fp32", True, 8.1),  # it has no tf32
            ("Tesla V100-SXM2-16GB", "fp16", False, 125),
            ("Tesla V100-PCIE-32GB", "fp32", False, 14),
            ("NVIDIA B200", "bf16", False, 2250),
        ],
    )
    def test_are_dense_and_of_the_number_format(self, name, dtype, tf32, tflops):
        assert peak_of(name, dtype, tf32=tf32).flops_per_s == pytest.approx(tflops * 1e12)

    @pytest.mark.parametrize(
        ("name", "dtype"),
        [
            ("Tesla T4", "bf16"),  # a format that it does not have
            ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "fp16"),  # a slice of one
            ("NVIDIA L40", "fp16"),  # neither an L4 nor an L40S
            ("NVIDIA GeForce RTX 4090", "fp16"),
            ("AMD EPYC", "fp32"),
        ],
    )
    def test_are_none_where_they_are_not_known(self, name, dtype):
        assert peak_of(name, dtype) is None

    def test_name_their_format_and_source(self):
        peak = peak_of("NVIDIA H100 80GB HBM3", "fp32", tf32=True)
        assert peak.format == "tf32"
        assert "H100" in peak.source

    def test_rise_with_coarser_formats(self):
        for chip in CHIPS:
            order = [chip.tflops[f] for f in ("fp32", "tf32", "fp16") if f in chip.tflops]
            assert order == sorted(order)


class TestDeviceFacts:
    GPU = SimpleNamespace(why_not="", facts=lambda: {"power_limit_w": 700.0})

    @pytest.fixture(autouse=True)
    def named(self, monkeypatch):
        monkeypatch.setattr(devices, "device_name", lambda placement: "NVIDIA H100 80GB HBM3")

    def test_join_what_the_driver_tells_and_what_was_published(self):
        facts = device_facts(Placement("cuda:0", "fp16"), self.GPU, None)
        assert facts["power_limit_w"] == 700.0
        assert facts["peak_flops_per_s"] == pytest.approx(989.4e12)
        assert facts["peak_format"] == "fp16"

    def test_say_why_the_driver_tells_nothing(self):
        gpu = SimpleNamespace(why_not="Driver Not Loaded")
        assert device_facts(Placement("cuda:0"), gpu, None)["nvml"] == "Driver Not Loaded"

    def test_of_a_cpu_are_its_name(self):
        assert set(device_facts(ON_CPU, None, None)) == {"name"}

    def test_take_the_peak_that_the_kind_of_work_may_use(self):
        # torch's own defaults: convolutions may use tf32, matrix products may not.
        counted = SimpleNamespace
        assert rounds_to_tf32(counted(convolution_share=1.0)) is True
        assert rounds_to_tf32(counted(convolution_share=0.1)) is False
        assert rounds_to_tf32(None) is False

    def test_take_it_from_the_newer_settings_where_torch_does_not_tell_the_older(self, monkeypatch):
        class Refusing:
            conv = SimpleNamespace(fp32_precision="ieee")

            @property
            def allow_tf32(self):
                raise RuntimeError("a mix of the legacy and new APIs")

        def refuse():
            raise RuntimeError("a mix of the legacy and new APIs")

        monkeypatch.setattr("torch.backends.cudnn", Refusing())
        monkeypatch.setattr("torch.get_float32_matmul_precision", refuse)
        matmul = SimpleNamespace(fp32_precision="tf32")
        monkeypatch.setattr("torch.backends.cuda.matmul", matmul)
        assert rounds_to_tf32(SimpleNamespace(convolution_share=1.0)) is False
        assert rounds_to_tf32(SimpleNamespace(convolution_share=0.1)) is True


def counted(model, payloads, **options):
    model.prepare(ON_CPU)
    return count_flops(model, ON_CPU, payloads, VirtualClock(), **options)


def followed_by(then):
    """A model of one Linear of 4 to 4, and what comes after it."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(4, 4)

        def forward(self, x):
            return then(torch, self.first(x))

    return TorchModel(Model, lambda rng: torch.zeros(4), name="small")


def _bytes(torch):
    return torch.ones(32, 32, dtype=torch.int8), torch.ones(32, 32, dtype=torch.int8)


def _own(torch):
    @torch.library.custom_op("dynbatch_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    return twice


class TestCountingTheWorkOfARequest:
    def test_counts_two_operations_for_a_multiplication_and_an_addition(self):
        model = load_model("mlp", clock=VirtualClock())
        inputs = [model.make_input(np.random.default_rng(0))] * 5
        found = counted(model, inputs)
        assert found.per_request == 4 * 2 * 1024 * 1024
        assert found.requests == 5
        assert found.convolution_share == 0.0

    def test_counts_convolutions_and_says_their_share(self):
        import torch

        def build():
            return torch.nn.Sequential(
                torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.Flatten(), torch.nn.Linear(144, 2)
            )

        model = TorchModel(build, lambda rng: torch.zeros(3, 8, 8), name="small")
        found = counted(model, [torch.zeros(3, 8, 8)])
        convolution, linear = 2 * 6 * 6 * 4 * 3 * 9, 2 * 144 * 2
        assert found.per_request == convolution + linear
        assert found.convolution_share == pytest.approx(convolution / (convolution + linear))

    def test_counts_attention_on_the_cpu_too(self):
        import torch

        class Attention(torch.nn.Module):
            def forward(self, x):
                heads = x.unsqueeze(1)  # [B, 1, 16, 8]
                return torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)

        model = TorchModel(Attention, lambda rng: torch.zeros(16, 8), name="attention")
        assert counted(model, [torch.zeros(16, 8)]).per_request == 2 * (2 * 16 * 16 * 8)

    def test_is_the_mean_over_requests_of_different_lengths_without_padding(self):
        import torch

        class Embed(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.table = torch.nn.Embedding(10, 4)
                self.out = torch.nn.Linear(4, 3)

            def forward(self, input_ids, attention_mask):
                return self.out(self.table(input_ids))

        model = TokenModel(Embed, lambda rng: torch.ones(2, dtype=torch.int64), name="tokens")
        lengths = [1, 3, 3, 5]
        found = counted(model, [torch.ones(n, dtype=torch.int64) for n in lengths])
        assert found.per_request == pytest.approx(np.mean(lengths) * 2 * 4 * 3)

    def test_of_many_lengths_runs_three_and_has_the_others_by_a_parabola(self):
        import torch

        runs = []

        class Attending(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.table = torch.nn.Embedding(10, 4)
                self.out = torch.nn.Linear(4, 3)

            def forward(self, input_ids, attention_mask):
                runs.append(input_ids.shape[1])
                x = self.table(input_ids)
                mixed = torch.nn.functional.scaled_dot_product_attention(x, x, x)
                return self.out(mixed)[:, 0] @ torch.ones(3, 5)

        model = TokenModel(Attending, lambda rng: torch.ones(2, dtype=torch.int64), name="tokens")
        lengths = [7, 12, 30, 12, 64, 9]
        found = counted(model, [torch.ones(n, dtype=torch.int64) for n in lengths])
        exact = [2 * (2 * n * n * 4) + 2 * n * 4 * 3 + 2 * 3 * 5 for n in lengths]
        assert found.per_request == pytest.approx(np.mean(exact))
        assert found.requests == 6
        assert sorted(runs) == [7, 12, 64]

    def test_stops_at_its_budget_and_says_how_many_it_counted(self):
        import torch

        clock = VirtualClock()

        class Slow(torch.nn.Module):
            def forward(self, x):
                clock.sleep_until(clock.now() + 1.0)
                return x @ x.transpose(-1, -2)

        model = TorchModel(Slow, lambda rng: torch.ones(2, 2), name="slow")
        model.prepare(ON_CPU)
        shapes = [torch.ones(2, n) for n in range(1, 30)]
        found = count_flops(model, ON_CPU, shapes, clock, budget_s=4.5)
        assert found.requests == 5

    @pytest.mark.parametrize(
        "spec",
        ["affine:1,1"],  # computes nothing
    )
    def test_of_a_model_without_torch_is_none(self, spec):
        model = load_model(spec, clock=VirtualClock())
        assert counted(model, [model.make_input(np.random.default_rng(0))]) is None

    def test_of_a_model_that_fails_or_multiplies_nothing_is_none(self):
        import torch

        class Fails(torch.nn.Module):
            def forward(self, x):
                raise RuntimeError("no")

        for module in (Fails, torch.nn.ReLU):
            model = TorchModel(module, lambda rng: torch.ones(2), name="odd")
            assert counted(model, [torch.ones(2)]) is None

    def test_of_an_encoder_that_torch_would_fuse_is_that_of_its_layers(self):
        import torch

        tokens, width, inner = 10, 64, 128

        def build():
            layer = torch.nn.TransformerEncoderLayer(width, 4, inner, batch_first=True)
            return torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        payload = torch.zeros(tokens, width)
        model = TorchModel(build, lambda rng: payload, name="encoder")
        projections = 2 * tokens * (4 * width * width + 2 * width * inner)
        attention = 2 * (2 * tokens * tokens * width)
        assert counted(model, [payload]).per_request == 2 * (projections + attention)
        assert torch.backends.mha.get_fastpath_enabled()

    @pytest.mark.parametrize(
        ("what", "then"),
        [
            ("a recurrent layer of one operator", lambda torch, x: torch.nn.LSTM(4, 8)(x)[0]),
            ("a Fourier transform", lambda torch, x: torch.fft.rfft(x).real),
            ("distances of pairs", lambda torch, x: torch.cdist(x, x)),
            ("a system of equations", lambda torch, x: torch.linalg.solve(torch.eye(4), x.T).T),
            ("a product of matrix and vector", lambda torch, x: torch.mv(x, x[0])),
            ("a product of integers", lambda torch, x: torch._int_mm(*_bytes(torch))[:1]),
            ("somebody's own operator", lambda torch, x: _own(torch)(x)),
        ],
    )
    def test_of_a_model_with_work_that_is_not_known_is_none_and_not_a_part_of_it(self, what, then):
        import torch

        assert counted(followed_by(then), [torch.zeros(4)]) is None

    @pytest.mark.parametrize(
        ("what", "then"),
        [
            ("activations", lambda torch, x: torch.nn.functional.hardswish(x).relu_()),
            ("norms", lambda torch, x: torch.nn.functional.layer_norm(x, (4,))),
            ("softmax", lambda torch, x: x.softmax(-1)),
            ("sorting and choosing", lambda torch, x: torch.topk(x, 2)[0] + x.sort()[0][:, :2]),
            ("copies and views", lambda torch, x: torch.cat([x, x.clone().zero_()])[:1].t()),
            ("pooling", lambda torch, x: torch.nn.functional.adaptive_max_pool1d(x, 2)),
            ("statistics", lambda torch, x: (x - x.mean()) / x.std()),
            ("tensors that are made", lambda torch, x: x + torch.arange(4) + torch.ones(4)),
        ],
    )
    def test_leaves_out_what_is_next_to_nothing(self, what, then):
        import torch

        assert counted(followed_by(then), [torch.zeros(4)]).per_request == 2 * 4 * 4

    def test_of_a_compiled_model_is_that_of_the_model_itself(self):
        import torch

        def build():
            return torch.compile(torch.nn.Linear(8, 4), backend="eager")

        model = TorchModel(build, lambda rng: torch.zeros(8), name="compiled")
        assert counted(model, [torch.zeros(8)]).per_request == 2 * 8 * 4


def test_a_session_counts_the_work_once_for_all_that_it_serves(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "bench.live.session.count_flops", lambda *arguments: asked.append(arguments)
    )
    settings = load_settings(None, {"model": "affine:1,1"})
    session = Session(settings.model, [settings.batcher], VirtualClock(), Console(quiet=True))
    assert [session.flops([1.0]), session.flops([2.0])] == [None, None]
    assert len(asked) == 1


class TestTheWorkOfAProfile:
    PROFILE = ServiceProfile.exact(lambda size: 0.001 * size, 4, Subject("m", "cuda:0"))

    def test_is_over_the_time_of_execution_and_a_share_of_the_peak(self):
        work = Work(1e9, Peak(1e13, "fp16", ""))
        assert work.flops_per_s(self.PROFILE, 4) == pytest.approx(1e12)
        assert work.mfu(self.PROFILE, 4) == pytest.approx(0.1)

    def test_has_no_share_of_an_unknown_peak(self):
        assert Work(1e9, None).mfu(self.PROFILE, 4) is None


@pytest.mark.gpu
def test_the_work_of_a_request_is_the_same_on_the_gpu():
    model = load_model("mlp", clock=VirtualClock())
    placement = Placement("cuda:0", "fp16")
    model.prepare(placement)
    inputs = [model.make_input(np.random.default_rng(0))]
    found = count_flops(model, placement, inputs, RealClock())
    assert found.per_request == 4 * 2 * 1024 * 1024
    assert not isnan(found.convolution_share)
