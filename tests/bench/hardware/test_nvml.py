"""What is asked of the driver, against NVML with scripted answers; and of a real one on a GPU."""

import os
import sys
from math import isnan

import pynvml as real
import pytest

from bench.hardware import nvml
from bench.hardware.nvml import Gpu, Others
from tests.fake_cuda.nvml import FakeNvml, hopper, process, utilization_samples

UUID = "7b3f"
ME = os.getpid()


@pytest.fixture
def gpu_with(monkeypatch):
    """A GPU whose answers are those of `hopper`, changed as told."""

    def make(*, prefix="GPU-", fails=None, lacks=(), **changes):
        fake = FakeNvml({prefix + UUID: hopper(**changes)}, fails=fails, lacks=lacks)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        monkeypatch.setattr(nvml, "uuid_of", lambda index: UUID)
        return Gpu(0)

    return make


def unsupported():
    return real.NVMLError(real.NVML_ERROR_NOT_SUPPORTED)


class TestASample:
    def test_is_in_shares_bytes_watts_joules_and_megahertz(self, gpu_with):
        assert gpu_with().sample() == {
            "gpu_utilization": 0.75,
            "gpu_memory_bytes": 20 * 2**30,
            "gpu_power_w": 312.5,
            "gpu_energy_j": 7000.5,
            "gpu_sm_clock_mhz": 1980.0,
            "gpu_memory_clock_mhz": 2619.0,
            "gpu_throttle_reasons": 4.0,
            "gpu_temperature_c": 54.0,
        }

    @pytest.mark.parametrize(
        ("missing", "column"),
        [
            ("GetUtilizationRates", "gpu_utilization"),  # not told of a slice of a GPU
            ("GetTotalEnergyConsumption", "gpu_energy_j"),  # not before Volta
            ("GetPowerUsage", "gpu_power_w"),
            ("GetCurrentClocksEventReasons", "gpu_throttle_reasons"),
            ("GetTemperature", "gpu_temperature_c"),
        ],
    )
    def test_has_nan_for_what_this_gpu_does_not_tell_and_all_the_rest(
        self, gpu_with, missing, column
    ):
        sample = gpu_with(**{missing: unsupported()}).sample()
        assert [name for name, value in sample.items() if isnan(value)] == [column]

    def test_asks_an_old_driver_for_throttling_by_its_old_name(self, gpu_with):
        old = real.NVMLError(real.NVML_ERROR_FUNCTION_NOT_FOUND)
        gpu = gpu_with(GetCurrentClocksEventReasons=old, GetCurrentClocksThrottleReasons=0x40)
        assert gpu.sample()["gpu_throttle_reasons"] == 0x40

    def test_does_without_functions_that_the_bindings_lack(self, gpu_with):
        lacks = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetTemperatureV")
        sample = gpu_with(lacks=lacks, GetCurrentClocksThrottleReasons=0x8).sample()
        assert sample["gpu_throttle_reasons"] == 0x8
        assert sample["gpu_temperature_c"] == 54


class TestFacts:
    def test_say_what_a_figure_depends_on(self, gpu_with):
        assert gpu_with().facts() == {
            "driver": "580.65.06",
            "memory_bytes": 80 * 2**30,
            "power_limit_w": 700.0,
            "power_limit_default_w": 700.0,
            "sm_clock_max_mhz": 1980,
            "sm_clock_set_mhz": 1980,
            "memory_clock_max_mhz": 2619,
            "persistence_mode": True,
            "ecc_mode": True,
            "mig_mode": False,
            "pcie": "generation 5, 16 lanes",
            "energy_counter": True,
            "nvml_utilization_period_s": pytest.approx(0.1),
        }

    def test_are_none_where_they_are_not_told(self, gpu_with):
        facts = gpu_with(
            GetEccMode=unsupported(), GetMigMode=unsupported(),
            GetTotalEnergyConsumption=unsupported(), GetCurrPcieLinkWidth=unsupported(),
        ).facts()  # fmt: skip
        assert facts["ecc_mode"] is None
        assert facts["mig_mode"] is None
        assert facts["pcie"] is None
        assert facts["energy_counter"] is False

    def test_find_a_slice_of_a_gpu_by_its_own_kind_of_uuid(self, gpu_with):
        facts = gpu_with(prefix="MIG-", IsMigDeviceHandle=1).facts()
        assert facts["mig_mode"] is True

    @pytest.mark.parametrize(
        ("samples", "period_s"),
        [
            (utilization_samples(5_000_000, 5_166_667, 5_333_334), pytest.approx(1 / 6, rel=1e-4)),
            # a gap in the buffer does not change the usual spacing
            (utilization_samples(10, 100_010, 200_010, 900_010, 1_000_010), 0.1),
            # in any order, twice the same, and entries that were never written
            (utilization_samples(0, 0, 40_000, 20_000, 60_000, 60_000), 0.02),
            (utilization_samples(1, 2), None),
            (utilization_samples(), None),
            (unsupported(), None),
        ],
    )
    def test_have_the_sampling_period_by_the_driver_s_own_time_stamps(
        self, gpu_with, samples, period_s
    ):
        assert gpu_with(GetSamples=samples).utilization_period_s() == period_s


class TestADriverThatIsNotThere:
    def test_is_named_and_everything_is_unknown(self, gpu_with):
        gpu = gpu_with(fails=real.NVMLError(real.NVML_ERROR_LIBRARY_NOT_FOUND))
        assert gpu.why_not == "NVML Shared Library Not Found"
        assert all(isnan(value) for value in gpu.sample().values())
        assert isnan(gpu.others().count)

    def test_does_not_know_a_gpu_that_is_not_its_own(self, gpu_with, monkeypatch):
        gpu_with()
        monkeypatch.setattr(nvml, "uuid_of", lambda index: "another")
        assert Gpu(0).why_not == "Not Found"


class TestOtherProcesses:
    @pytest.mark.parametrize(
        ("processes", "ours", "expected"),
        [
            ([process(ME, 100)], True, Others(0, 0.0)),
            ([process(ME, 100), process(-7, 300), process(-8, 50)], True, Others(2, 350.0)),
            ([process(-7, 300)], False, Others(1, 300.0)),
            ([], False, Others(0, 0.0)),
        ],
    )
    def test_are_counted_with_the_memory_they_hold(self, gpu_with, processes, ours, expected):
        assert gpu_with(GetComputeRunningProcesses=processes).others(ours=ours) == expected

    def test_hold_an_unknown_amount_where_the_driver_does_not_tell(self, gpu_with):
        found = gpu_with(GetComputeRunningProcesses=[process(ME, 1), process(-7)]).others()
        assert found.count == 1
        assert isnan(found.memory_bytes)

    def test_are_one_fewer_than_listed_where_the_driver_has_other_pids(self, gpu_with):
        # Inside a container: one of the host's pids is ours, and which one cannot be told.
        found = gpu_with(GetComputeRunningProcesses=[process(-7, 10), process(-8, 20)]).others()
        assert found.count == 1
        assert isnan(found.memory_bytes)
        alone = gpu_with(GetComputeRunningProcesses=[process(-7, 10)]).others()
        assert alone == Others(0, 0.0)

    @pytest.mark.parametrize("processes", [[], unsupported()])
    def test_are_unknown_where_not_even_we_are_listed(self, gpu_with, processes):
        assert isnan(gpu_with(GetComputeRunningProcesses=processes).others().count)


@pytest.mark.gpu
class TestARealGpu:
    def test_tells_its_state_in_plausible_numbers(self):
        import torch

        torch.ones(1, device="cuda:0")
        gpu = Gpu(0)
        assert gpu.why_not == ""
        sample, facts = gpu.sample(), gpu.facts()
        assert 0.0 <= sample["gpu_utilization"] <= 1.0
        assert 0 < sample["gpu_memory_bytes"] <= facts["memory_bytes"]
        assert 0 < sample["gpu_sm_clock_mhz"] <= 1.05 * facts["sm_clock_max_mhz"]
        assert 0 < sample["gpu_power_w"] < 2 * facts["power_limit_w"]
        assert 0 < sample["gpu_temperature_c"] < 110
        period_s = facts["nvml_utilization_period_s"]
        assert period_s is None or 0.0 < period_s <= 1.1

    def test_counts_its_energy_upwards(self):
        import time

        gpu = Gpu(0)
        before = gpu.sample()["gpu_energy_j"]
        if isnan(before):
            pytest.skip("this GPU has no energy counter")
        time.sleep(0.5)  # the counter moves every tenth of a second or so
        assert gpu.sample()["gpu_energy_j"] > before
