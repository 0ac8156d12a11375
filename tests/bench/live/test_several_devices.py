"""Several devices, with stand-ins: each "GPU" computes on the CPU, its driver is scripted.

What only real ones would show is that copies to the two overlap, and that neither holds the other
up.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from batching import DynamicBatcher, RealClock
from batching.errors import DeviceError
from batching.execution.devices import require_one_kind, resolve_placements
from batching.execution.executor import HostExecutor
from batching.models import Placement
from batching.profiles import ServiceProfile, Subject, save_profile
from batching.workers.replicas import Copies, executors_for
from bench.hardware import nvml
from bench.profiling.measure import load_subject
from bench.settings import load_settings
from results.run.record import Run
from tests.fake_cuda.nvml import FakeNvml, hopper, process

MODEL = '''
import time

import torch
from batching.models import Collated

class OnAnyDevice:
    """A model of torch whose weights stay where they are."""

    name = "stand-in"
    uses_torch = True

    def make_input(self, rng):
        return [float(x) for x in rng.standard_normal(64)]

    def prepare(self, placement):
        if getattr(self, "device", None) == placement.device:
            return
        self.device = placement.device
        self.weights = torch.ones(64, 64)
        with open("loaded.txt", "a") as file:
            print(placement.device, file=file)

    def collate(self, payloads, staging):
        return Collated([list(payload) for payload in payloads])

    def run(self, inputs):
        time.sleep(0.015)  # so that one of them alone cannot serve the load
        with torch.inference_mode():
            return (torch.tensor(inputs) @ self.weights).tolist()

    def split(self, outputs, count):
        return outputs

def make():
    return OnAnyDevice()
'''


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs of one kind, as far as anybody asks."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    names = ["NVIDIA H100 80GB HBM3"] * 2
    for module in ("batching.execution.devices", "bench.hardware.environment"):
        monkeypatch.setattr(f"{module}.gpu_name", lambda index: names[index])
    monkeypatch.setattr("batching.workers.replicas.make_executor", HostExecutor)
    monkeypatch.setattr("bench.live.session.make_executor", HostExecutor)
    # One second of energy is 100 J on one of them and 300 J on the other.
    gpus = {
        f"GPU-{index}": hopper(
            GetPowerUsage=power_mw,
            GetTotalEnergyConsumption=counter(power_mw),
            GetCurrentClocksEventReasons=0x1,
            GetComputeRunningProcesses=[process(-7, 100)],
        )
        for index, power_mw in enumerate([100_000, 300_000])
    }
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(gpus))
    monkeypatch.setattr(nvml, "uuid_of", str)
    return names


def counter(power_mw):
    now = RealClock().now
    began_s = now()
    return lambda: int((now() - began_s) * power_mw)


@pytest.fixture
def dynbatch(dynbatch, monkeypatch, tmp_path):
    (tmp_path / "standin.py").write_text(MODEL)
    # Drawing takes longer than all else here, and is tested with the report.
    monkeypatch.setattr("results.run.report.write_report", lambda run: None)
    return dynbatch


QUICK = ("--model", "standin.py:make", "--trace", "poisson.json", "--rate", 350, "--duration", 1.2)


class TestARunOnTwoDevices:
    @pytest.fixture
    def run(self, dynbatch, two_gpus):
        arguments = (*QUICK, "--device", "cuda:0,cuda:1", "--dtype", "fp16", "--max-batch-size", 4)
        code, out, err = dynbatch("bench", *arguments, "--out", "r")
        assert code == 0, err
        self.out = out
        return Run.load("r")

    def test_has_its_replicas_telemetry_and_metrics_by_device(self, run):
        config, environment = run.record.config, run.record.environment
        assert config["device"] == "cuda:0,cuda:1"
        assert config["replica_devices"] == ["cuda:0", "cuda:1"]
        assert set(run.batches["worker"]) == {0, 1}
        assert set(run.telemetry["device"]) == {"", "cuda:0", "cuda:1"}

        facts = environment["devices"]["cuda:1"]
        assert facts["power_limit_w"] == 700.0
        assert facts["nvml_utilization_period_s"] == pytest.approx(0.1)
        assert facts["peak_flops_per_s"] == pytest.approx(989.4e12)
        assert environment["flops"]["per_request"] == 2 * 64 * 64
        assert environment["gpu"] == "NVIDIA H100 80GB HBM3"

        metrics = run.metrics
        first, second = metrics.devices["cuda:0"], metrics.devices["cuda:1"]
        mean = (first.busy_fraction + second.busy_fraction) / 2
        assert metrics.device.busy_fraction == pytest.approx(mean)
        assert metrics.device.power_w == pytest.approx(400.0)
        assert metrics.device.energy_j == pytest.approx(400.0 * run.record.window_s, rel=0.05)
        assert metrics.device.energy_source == "counter"
        assert second.power_w == pytest.approx(300.0)
        assert metrics.device.mfu == pytest.approx(metrics.device.flops_per_s / 989.4e12)
        assert metrics.device.throttle_reasons == ()
        # The one process listed has another pid than ours: a container, and it is ours.
        assert not [f for f in run.record.findings if f.code == "competing_processes"]

        assert "J a request by the energy counter" in " ".join(self.out.split())

        # Each device loaded the model once, for warm-up, counting and replay together.
        assert sorted(Path("loaded.txt").read_text().split()) == ["cuda:0", "cuda:1"]


class TestBadDevices:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--device", "cuda:0,cuda:0"], "must name each device once, but got 'cuda:0,cuda:0'"),
            (["--device", "cuda,cuda:0"], "which has cuda:0 twice"),
            (["--device", "cuda:0,cuda:2"], "must exist on this machine, but got 'cuda:2'"),
            (["--device", "cuda:0,"], "device must be auto, cpu, cuda or cuda:<index>, but got ''"),
            (["--device", "cuda:0,cpu"], "devices must be of one kind, but got cuda:0 (NVIDIA"),
            (["--device", "cuda:0,cuda:1", "--replicas", "1"],
             "replicas must be at least 1 for each of the 2 devices, but got 1"),
        ],
    )  # fmt: skip
    @pytest.mark.usefixtures("two_gpus")
    def test_are_one_line_and_exit_code_2(self, dynbatch, arguments, message):
        code, _, err = dynbatch("bench", *QUICK, *arguments)
        assert code == 2
        assert message in err.splitlines()[-1]

    def test_are_refused_of_two_kinds_and_named(self, two_gpus):
        two_gpus[1] = "NVIDIA L4"
        with pytest.raises(DeviceError, match=r"cuda:0 \(NVIDIA H100.*\), cuda:1 \(NVIDIA L4\)"):
            require_one_kind(resolve_placements("cuda:0,cuda:1"))

    def test_are_refused_by_a_profile_too(self, two_gpus):
        settings = load_settings(None, {"device": "cuda:0,cuda:1"}).model
        assert load_subject(settings, RealClock())[1].device == "cuda:0"
        two_gpus[1] = "NVIDIA L4"
        with pytest.raises(DeviceError, match="one kind"):
            load_subject(settings, RealClock())


class Counting:
    """Says which copy of it answered."""

    uses_torch = True
    name = "counting"

    def __init__(self):
        self.prepared = []

    def make_input(self, rng):
        return 0

    def prepare(self, placement):
        self.prepared.append(placement.device)

    def collate(self, payloads, staging):
        from batching.models import Collated

        return Collated(payloads)

    def run(self, inputs):
        return [self.prepared[0]] * len(inputs)

    def split(self, outputs, count):
        return outputs


@pytest.mark.usefixtures("two_gpus")
class TestReplicas:
    @pytest.mark.parametrize(
        ("replicas", "dealt"),
        [
            (None, ["cuda:0", "cuda:1"]),
            (2, ["cuda:0", "cuda:1"]),
            (5, ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]),
        ],
    )
    def test_are_dealt_out_to_the_devices_in_turn(self, replicas, dealt):
        groups = executors_for(
            Counting(), "cuda:0,cuda:1", "fp32", replicas, 2, RealClock(), max_batch_size=1
        )
        assert [group[0].placement.device for group in groups] == dealt
        for group in groups:
            assert group[0].model is group[1].model
        models = {id(group[0].model) for group in groups}
        assert len(models) == 2

    def test_keep_their_copies_from_one_batcher_to_the_next(self):
        copies = Copies(Counting())

        def models():
            groups = executors_for(
                copies, "cuda:0,cuda:1", "fp32", None, 1, RealClock(), max_batch_size=1
            )
            return [group[0].model for group in groups]

        first = models()
        assert models() == first
        assert first[0] is copies.model

    def test_answer_from_the_device_that_ran_the_batch(self):
        seen = {}

        def note(batch, requests):
            for request in requests:
                seen.setdefault(batch.worker, set()).add(request.value)

        batcher = DynamicBatcher(
            Counting(), device="cuda:0,cuda:1", max_batch_size=1, batch_timeout_ms=0,
            warm_up_budget_s=0, observer=note,
        )  # fmt: skip
        with batcher:
            for request in [batcher.submit(0) for _ in range(500)]:
                request.result(30)
        assert seen.items() <= {0: {"cuda:0"}, 1: {"cuda:1"}}.items()
        assert sum(len(values) for values in seen.values()) >= 1


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "replicas"),
        [
            ({"device": "cuda:0,cuda:1"}, 2),
            ({"device": "cuda:0,cuda:1", "replicas": 4}, 4),
            ({"device": "cuda:0"}, None),
            ({}, None),
        ],
    )
    def test_have_a_replica_for_each_of_several_devices(self, given, replicas):
        # So that a simulation of devices that are not here has as many workers.
        assert load_settings(None, given).batcher.replicas == replicas

    def test_simulate_as_many_devices_as_are_named(self, dynbatch):
        subject = Subject(model="mlp", device="cuda:0", device_name="NVIDIA H100 80GB HBM3")
        profile = ServiceProfile.exact(lambda size: 0.001 + 0.0001 * size, 32, subject)
        save_profile(profile, Path("h100.json"))
        code, out, err = dynbatch(
            "simulate", "--profile", "h100.json", "--device", "cuda:0,cuda:1", "--utilization",
            "0.6", "--duration", "5", "--seed", "1", "--json",
        )  # fmt: skip
        assert code == 0, err
        [run] = [path for path in Path("runs").iterdir() if not path.is_symlink()]
        batches = pd.read_parquet(run / "batches.parquet")
        assert set(batches["worker"]) == {0, 1}
        assert json.loads(out)["device"]["busy_fraction"] > 0.1


def test_a_placement_names_itself(two_gpus):
    from batching.execution.devices import cpu_name, device_name

    assert device_name(Placement("cuda:1")) == two_gpus[1]
    assert device_name(Placement()) == cpu_name()


@pytest.mark.gpu
def test_two_real_gpus_give_the_same_answers_and_each_its_own_telemetry(dynbatch):
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    code, _, err = dynbatch(
        "bench", "--model", "mlp", "--trace", "poisson.json", "--rate", "2000", "--duration", "3",
        "--device", "cuda:0,cuda:1", "--out", "r",
    )  # fmt: skip
    assert code == 0, err
    metrics = Run.load("r").metrics
    assert len(metrics.devices) == 2
    for device in metrics.devices.values():
        assert device.power_w > 0
        assert 0 < device.busy_fraction < 1
    assert np.isfinite(metrics.device.mfu)


@pytest.mark.gpu
def test_a_real_gpu_has_its_energy_clock_and_mfu_in_the_run(dynbatch):
    code, _, err = dynbatch(
        "bench", "--model", "mlp", "--trace", "poisson.json", "--rate", "2000", "--duration", "3",
        "--device", "cuda:0", "--dtype", "fp16", "--out", "r",
    )  # fmt: skip
    assert code == 0, err
    run = Run.load("r")
    device = run.metrics.device
    assert device.sm_clock_mhz > 0
    assert device.power_w > 0
    assert device.energy_source in {"counter", "power"}
    assert device.energy_j == pytest.approx(device.power_w * run.record.window_s, rel=0.5)
    assert 0 < device.busy_fraction < 1
    assert device.flops_per_s > 0
    assert device.mfu is None or 0 < device.mfu < 1
