"""The doctor: what is wrong with a machine, and what can be measured on it."""

import json
import sys
from dataclasses import replace
from math import nan

import pynvml as real
import pytest

from bench import cli
from bench.doctor import accelerators as looking
from bench.doctor.accelerators import (
    Accelerator,
    Accelerators,
    computing_before,
    look,
)
from bench.doctor.diagnosis import abilities, complaints
from bench.doctor.machine import (
    Machine,
    Spread,
    cpu_quota,
    watch_machine,
)
from bench.hardware import devices
from bench.hardware.nvml import Others
from tests.fake_cuda.nvml import FakeNvml, hopper, process

CALM = Machine(
    cores=8,
    quota_cores=None,
    memory_bytes=2**35,
    available_bytes=2**34,
    watched_s=2.0,
    resolution_s=1e-9,
    timer_s=Spread(5e-5, 1e-4, 2e-4),
    stall_s=Spread(5e-5, 1e-4, 2e-4),
    others_cores=0.1,
    stolen_share=0.0,
)
FACTS = {
    "name": "NVIDIA H100 80GB HBM3",
    "driver": "580.65.06",
    "memory_bytes": 80 * 2**30,
    "power_limit_w": 700.0,
    "power_limit_default_w": 700.0,
    "sm_clock_max_mhz": 1980,
    "persistence_mode": True,
    "mig_mode": False,
    "peak_flops_per_s": 989.4e12,
    "peak_format": "fp16",
    "nvml_utilization_period_s": 0.1,
}
STATE = {
    "gpu_utilization": 0.0,
    "gpu_power_w": 70.0,
    "gpu_energy_j": 5.0,
    "gpu_sm_clock_mhz": 345.0,
    "gpu_throttle_reasons": 1.0,
}
H100 = Accelerator("cuda:0", FACTS, STATE, Others(0, 0.0))
NONE = Accelerators()
ONE = Accelerators((H100,), 1, "12.6")


def gpu(*, facts=None, state=None, **more):
    changed = replace(H100, facts=FACTS | (facts or {}), state=STATE | (state or {}), **more)
    return Accelerators((changed,), 1, "12.6")


class TestComplaints:
    @pytest.mark.parametrize("accelerators", [NONE, ONE])
    def test_there_are_none_about_a_calm_machine(self, accelerators):
        assert complaints(CALM, accelerators) == []

    @pytest.mark.parametrize(
        ("machine", "message", "unfit"),
        [
            ({"stall_s": Spread(0, 0.02, 0.1)}, "woken late by 20.0 ms at p99", True),
            ({"others_cores": 3.0}, "other programs use 3.00 of 8 cores", True),
            ({"stolen_share": 0.1}, "a hypervisor gives 10 % of these cores' time", True),
            ({"quota_cores": 1.5}, "8 cores are in sight, but a limit", True),
            ({"quota_cores": 8.0}, None, None),  # a limit that does not bind
            ({"cores": 1}, "take turns on it", False),
        ],
    )
    def test_about_the_host(self, machine, message, unfit):
        found = complaints(replace(CALM, **machine), NONE)
        assert [complaint.unfit for complaint in found] == ([] if message is None else [unfit])
        assert all(message in complaint.message for complaint in found)

    @pytest.mark.parametrize(
        ("accelerators", "message", "unfit"),
        [
            (gpu(others=Others(1, 2.0 * 2**30)),
             "cuda:0: another process computes on it, holding 2.00 GiB of its memory", True),
            (gpu(others=Others(3, nan)), "cuda:0: 3 processes compute on it", True),
            (gpu(state={"gpu_throttle_reasons": 4.0}),
             "cuda:0: its clock is held down by its power limit", True),
            (gpu(facts={"power_limit_w": 400.0}), "its power limit is 400 W, by default", False),
            (gpu(facts={"mig_mode": True}), "it is divided (MIG)", False),
            (gpu(facts={"persistence_mode": False}), "persistence mode is off", False),
            (Accelerators((), 0, "12.6"), "built for CUDA 12.6, but finds no GPU", False),
            (Accelerators((), 2, None), "knows 2 GPU(s), but torch was built without CUDA", False),
            (Accelerators((H100, replace(H100, device="cuda:1", facts=FACTS | {"name": "L4"}))),
             "the GPUs are of different kinds: L4, NVIDIA H100 80GB HBM3", False),
        ],
    )  # fmt: skip
    def test_about_gpus(self, accelerators, message, unfit):
        (found,) = complaints(CALM, accelerators)
        assert message in found.message
        assert found.unfit is unfit
        assert found.remedy

    @pytest.mark.parametrize(
        "accelerators",
        [
            gpu(others=Others()),  # not told
            gpu(state={"gpu_throttle_reasons": nan}, facts={"persistence_mode": None}),
        ],
    )
    def test_what_is_not_told_is_no_complaint(self, accelerators):
        assert complaints(CALM, accelerators) == []

    def test_those_that_make_results_unfit_come_first(self):
        machine = replace(CALM, cores=1, others_cores=1.0)
        assert [complaint.unfit for complaint in complaints(machine, NONE)] == [True, False]


class TestAbilities:
    def test_say_from_where_on_latencies_can_be_believed(self):
        assert "p99 from about 1.00 ms on" in abilities(CALM, NONE)[0].how

    def test_without_a_gpu_have_host_stamps_and_no_energy(self):
        found = {ability.what: ability for ability in abilities(CALM, NONE)}
        assert found["busy fraction"].how.startswith("by host time stamps")
        assert found["power and energy"].possible is False
        assert found["FLOP/s"].possible is True

    def test_with_a_gpu_state_the_means_and_the_sampling_period(self):
        found = {ability.what: ability.how for ability in abilities(CALM, ONE)}
        assert found["busy fraction"] == "by CUDA events"
        assert found["NVML utilisation of cuda:0"] == "by the driver, over 100 ms"
        assert found["power and energy of cuda:0"] == "energy counter"
        assert found["MFU of cuda:0"] == "of 989 TFLOP/s (fp16, dense)"

    def test_fall_back_and_say_so(self):
        poor = gpu(
            facts={"peak_flops_per_s": None, "nvml_utilization_period_s": None},
            state={"gpu_energy_j": nan},
        )
        found = {ability.what: ability for ability in abilities(CALM, poor)}
        assert found["NVML utilisation of cuda:0"].how == "by the driver, over 1/6 to 1 s"
        assert found["power and energy of cuda:0"].how == "power readings, integrated"
        assert found["MFU of cuda:0"].possible is False

    def test_name_the_reason_why_a_driver_tells_nothing(self):
        mute = gpu(why_not="Driver Not Loaded", state=dict.fromkeys(STATE, nan), others=Others())
        found = [ability for ability in abilities(CALM, mute) if not ability.possible]
        assert {ability.how for ability in found} == {"Driver Not Loaded"}


class TestLooking:
    @pytest.fixture
    def driver(self, monkeypatch):
        """A machine with these GPUs, of which torch sees the first `seen`."""

        def make(gpus, *, seen, **more):
            fake = FakeNvml(gpus, **more)
            monkeypatch.setitem(sys.modules, "pynvml", fake)
            monkeypatch.setattr("torch.cuda.is_available", lambda: seen > 0)
            monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
            monkeypatch.setattr("bench.hardware.nvml.uuid_of", str)
            monkeypatch.setattr(looking, "uuid_of", str)
            monkeypatch.setattr(devices, "device_name", lambda p: "NVIDIA H100 80GB HBM3")

        return make

    def test_finds_the_gpus_that_torch_sees_and_who_is_on_them(self, driver):
        busy = hopper(GetComputeRunningProcesses=[process(-7, 300)])
        driver({"GPU-0": hopper(), "GPU-1": busy}, seen=2)
        found = look()
        assert [gpu.device for gpu in found.found] == ["cuda:0", "cuda:1"]
        assert [gpu.others for gpu in found.found] == [Others(0, 0.0), Others(1, 300.0)]
        assert found.found[0].facts["peak_flops_per_s"] == pytest.approx(989.4e12)

    def test_knows_of_gpus_that_torch_does_not_see(self, driver):
        driver({"GPU-0": hopper()}, seen=0)
        assert look().found == ()
        assert look().installed == 1

    def test_without_a_driver_finds_nothing(self, driver):
        driver({}, seen=0, fails=real.NVMLError(real.NVML_ERROR_LIBRARY_NOT_FOUND))
        assert computing_before() == {}
        assert look().installed == 0


class TestTheMachine:
    def test_is_watched_for_as_long_as_asked(self):
        machine = watch_machine(0.1)
        assert 0.1 <= machine.watched_s < 30
        assert machine.cores >= 1
        assert 0.0 < machine.resolution_s < 1e-3
        for spread in (machine.timer_s, machine.stall_s):
            assert spread.p50 <= spread.p99 <= spread.max
        assert machine.timer_s.p50 > 0.0

    @pytest.mark.parametrize(
        ("limits", "group", "cores"),
        [
            ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
            ({"cpu.max": "max 100000\n"}, "0::/\n", None),
            # the tightest limit on the way up counts
            ({"a/cpu.max": "400000 100000", "a/b/cpu.max": "800000 100000"}, "0::/a/b\n", 4.0),
            ({"a/b/cpu.max": "50000 100000"}, "1:cpu:/x\n0::/a/b\n", 0.5),
            # of another group, or damaged
            ({"c/cpu.max": "50000 100000"}, "0::/a/b\n", None),
            ({"cpu.max": "many\n"}, "0::/\n", None),
        ],
    )
    def test_has_the_cpu_time_that_its_control_groups_allow(self, tmp_path, limits, group, cores):
        root = tmp_path / "cgroup"
        for name, text in limits.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        membership = tmp_path / "membership"
        membership.write_text(group)
        assert cpu_quota(root, membership) == cores

    def test_has_no_limit_where_there_are_no_control_groups(self, tmp_path):
        assert cpu_quota(tmp_path, tmp_path / "none") is None

    def test_spreads_by_nearest_rank(self):
        assert Spread.of(float(i) for i in range(1, 101)) == Spread(50.0, 99.0, 100.0)
        assert Spread.of([0.5]) == Spread(0.5, 0.5, 0.5)


class TestTheCommand:
    @pytest.fixture
    def dynbatch(self, monkeypatch, capsys):
        """Run it on a machine of our making."""

        def run(machine, found, *arguments):
            monkeypatch.setattr("bench.doctor.machine.watch_machine", lambda: machine)
            monkeypatch.setattr("bench.doctor.accelerators.look", lambda: found)
            monkeypatch.setattr(sys, "argv", ["dynbatch", "doctor", *arguments])
            code = cli.run()
            return code, capsys.readouterr()

        return run

    def test_says_that_a_calm_machine_is_fit(self, dynbatch):
        code, captured = dynbatch(CALM, ONE)
        assert code == 0
        assert captured.out.splitlines()[0] == "fit to measure"
        assert "NVIDIA H100 80GB HBM3, 80.0 GiB" in captured.out
        assert "looking at this machine" in captured.err

    def test_exits_with_3_where_results_cannot_be_believed(self, dynbatch):
        code, captured = dynbatch(replace(CALM, others_cores=4.0), NONE)
        assert code == 3
        assert captured.out.startswith("NOT FIT")
        assert "Other programs use 4.00 of 8 cores. End them" in captured.out

    def test_a_remark_alone_leaves_it_fit(self, dynbatch):
        code, captured = dynbatch(CALM, gpu(facts={"persistence_mode": False}))
        assert code == 0
        assert "Cuda:0: persistence mode is off" not in captured.out
        assert "cuda:0: persistence mode is off" in captured.out

    def test_prints_one_json_object_and_null_for_what_is_not_told(self, dynbatch):
        poor = gpu(state={"gpu_energy_j": nan}, others=Others())
        code, captured = dynbatch(CALM, poor, "--json")
        content = json.loads(captured.out)
        assert code == 0
        assert captured.err == ""
        assert content["fit"] is True
        assert content["machine"]["stall_s"] == {"p50": 5e-5, "p99": 1e-4, "max": 2e-4}
        assert content["devices"]["cuda:0"]["gpu_energy_j"] is None
        assert content["devices"]["cuda:0"]["gpu_other_processes"] is None
        assert {ability["what"] for ability in content["measurable"]} >= {"latency", "FLOP/s"}

    def test_quiet_has_only_the_exit_code(self, dynbatch):
        code, captured = dynbatch(replace(CALM, others_cores=4.0), NONE, "--quiet")
        assert (code, captured.out, captured.err) == (3, "", "")
