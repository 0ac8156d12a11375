"""What each device did, worked out by hand."""

import json

import numpy as np
import pytest

from results.run.device_metrics import Hardware
from results.run.intervals import Devices, busy_between
from results.run.metrics import Metrics, compute_metrics
from results.run.record import Run
from results.run.summary import summary
from results.run.throttle_reasons import words
from results.run.validity import Evidence, check
from results.run.wording import device_table, metric_rows
from tests.results.made import made_logs, written_run

TWO = Devices(("cuda:0", "cuda:1"))
SHARED = Devices(("cuda:0", "cuda:0", "cuda:1"))


def batch(number, worker, started_s, ended_s, **more):
    stamps = {"taken_s": started_s, "staged_s": started_s, "started_s": started_s}
    ends = {"completed_s": ended_s, "delivered_s": ended_s, "freed_s": ended_s}
    return stamps | ends | {"batch": number, "worker": worker} | more


def answer(number, ended_s, status="ok"):
    return {
        "batch": number, "scheduled_s": 0.0, "enqueued_s": 0.0, "taken_s": 0.0, "staged_s": 0.0,
        "started_s": 0.0, "completed_s": ended_s, "ended_s": ended_s, "status": status,
    }  # fmt: skip


def on(device, **columns):
    """Telemetry of one device, a sample a second from 0 on."""
    length = max(len(values) for values in columns.values())
    return [
        {"t_s": float(i), "device": device} | {name: values[i] for name, values in columns.items()}
        for i in range(length)
    ]


def measured(batches=(), telemetry=(), requests=(), hardware=None, window_s=10.0):
    logs = made_logs(requests, batches, telemetry)
    return compute_metrics(logs, window_s, replicas=2, hardware=hardware or Hardware(TWO))


class TestTheBusyFraction:
    @pytest.mark.parametrize(
        ("devices", "batches", "fraction", "busy_s"),
        [
            # one device half of the time, the other never: the mean of a half and nothing
            (TWO, [batch(0, 0, 0, 5)], 0.25, 5.0),
            # at the same time on two devices: both count
            (TWO, [batch(0, 0, 0, 5), batch(1, 1, 0, 5)], 0.5, 10.0),
            # two slots of one worker overlap: the device was busy once
            (TWO, [batch(0, 0, 0, 4), batch(1, 0, 2, 6)], 0.3, 6.0),
            # two replicas on one device overlap: likewise
            (SHARED, [batch(0, 0, 0, 4), batch(1, 1, 2, 6)], 0.3, 6.0),
            # one inside the other, then touching: a union has neither holes nor doubles
            (SHARED, [batch(0, 0, 0, 6), batch(1, 1, 1, 2), batch(2, 1, 6, 8)], 0.4, 8.0),
            # what hangs over the window's ends is cut
            (TWO, [batch(0, 0, -5, 2), batch(1, 1, 9, 30)], 0.15, 3.0),
            # replicas of no known device count each as one
            (Devices.apart(2), [batch(0, 0, 0, 4), batch(1, 1, 2, 6)], 0.4, 8.0),
        ],
    )
    def test_is_of_the_union_on_each_device_and_the_mean_over_devices(
        self, devices, batches, fraction, busy_s
    ):
        found = measured(batches, requests=[answer(0, 1.0)], hardware=Hardware(devices)).device
        assert found.busy_fraction == pytest.approx(fraction)
        assert found.busy_s_per_request == pytest.approx(busy_s)

    def test_is_by_the_device_s_own_time_on_the_device_that_has_it(self):
        batches = [batch(0, 0, 0, 5, device_s=1.0), batch(1, 1, 0, 5)]
        metrics = measured(batches, requests=[answer(0, 1.0)])
        assert metrics.devices["cuda:0"].busy_fraction == pytest.approx(0.1)
        assert metrics.devices["cuda:1"].busy_fraction == pytest.approx(0.5)

    def test_over_time_sums_to_the_whole(self):
        logs = made_logs(batches=[batch(0, 0, 0, 4), batch(1, 1, 2, 6), batch(2, 2, 3, 9)])
        edges = np.linspace(0.0, 10.0, 21)
        assert busy_between(logs.batches, SHARED, edges).sum() == pytest.approx(12.0)

    def test_is_not_measured_where_no_batch_was_logged(self):
        assert measured().device.busy_fraction is None


class TestEnergy:
    def test_is_of_the_counter_scaled_from_the_covered_part_to_the_window(self):
        rows = on("cuda:0", gpu_energy_j=[100.0 + 50.0 * i for i in range(9)])
        device = measured(telemetry=rows, requests=[answer(-1, 1.0)] * 5, hardware=only()).device
        assert device.energy_j == pytest.approx(500.0)
        assert device.energy_j_per_request == pytest.approx(100.0)
        assert device.energy_source == "counter"

    def test_reads_the_counter_between_samples_at_the_window_s_ends(self):
        rows = [
            {"t_s": t, "device": "cuda:0", "gpu_energy_j": 10.0 * t + 50.0}
            for t in (-0.5, 0.5, 9.5, 10.5)
        ]
        assert measured(telemetry=rows, hardware=only()).device.energy_j == pytest.approx(100.0)

    def test_is_integrated_from_power_where_there_is_no_counter_and_says_so(self):
        rows = on("cuda:0", gpu_power_w=[100.0] * 6 + [300.0] * 5)
        device = measured(telemetry=rows, hardware=only()).device
        assert device.energy_j == pytest.approx(5 * 100 + 200 + 4 * 300)
        assert device.energy_source == "power"

    @pytest.mark.parametrize(
        "readings",
        [
            # one reading is no difference
            {"gpu_energy_j": [5.0]},
            # readings of less than half of the window say too little of it
            {"gpu_energy_j": [1.0, 2.0, 3.0]},
            # a counter that runs backwards was reset
            {"gpu_energy_j": [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]},
        ],
    )
    def test_is_not_measured_from_too_little(self, readings):
        device = measured(telemetry=on("cuda:0", **readings), hardware=only()).device
        assert device.energy_j is None
        assert device.energy_source is None


def only():
    return Hardware(Devices(("cuda:0",)))


class TestSeveralDevices:
    def telemetry(self):
        return [
            *on("cuda:0", gpu_power_w=[100.0] * 11, gpu_utilization=[1.0] * 11,
                gpu_memory_bytes=[1e9] * 11, gpu_temperature_c=[50.0] * 11,
                gpu_sm_clock_mhz=[2000.0] * 11, gpu_throttle_reasons=[0] * 11),
            *on("cuda:1", gpu_power_w=[300.0] * 11, gpu_utilization=[0.5] * 11,
                gpu_memory_bytes=[3e9] * 11, gpu_temperature_c=[70.0] * 11,
                gpu_sm_clock_mhz=[1000.0] * 11, gpu_throttle_reasons=[4] * 11),
            *[{"t_s": float(i), "device": "", "rss_bytes": 7e9} for i in range(11)],
        ]  # fmt: skip

    def both(self):
        batches = [batch(0, 0, 0, 2), batch(1, 1, 0, 6)]
        requests = [answer(0, 2.0), answer(0, 2.0), answer(1, 6.0), answer(1, 6.0, "failed")]
        hardware = Hardware(TWO, None, 1e9, {"cuda:0": 1e10, "cuda:1": 1e10})
        return measured(batches, self.telemetry(), requests, hardware)

    def test_have_power_energy_and_memory_summed_and_shares_averaged(self):
        device = self.both().device
        assert device.power_w == pytest.approx(400.0)
        assert device.energy_j == pytest.approx(4000.0)
        assert device.memory_bytes == pytest.approx(4e9)
        assert device.nvml_utilization == pytest.approx(0.75)
        assert device.sm_clock_mhz == pytest.approx(1500.0)
        assert device.sm_clock_min_mhz == pytest.approx(1000.0)
        assert device.temperature_c == pytest.approx(70.0)
        assert device.throttled_fraction == pytest.approx(0.5)
        assert device.throttle_reasons == ("its power limit",)

    def test_are_each_charged_with_the_requests_they_answered(self):
        metrics = self.both()
        assert list(metrics.devices) == ["cuda:0", "cuda:1"]
        assert metrics.devices["cuda:0"].busy_s_per_request == pytest.approx(1.0)
        assert metrics.devices["cuda:1"].busy_s_per_request == pytest.approx(6.0)
        assert metrics.device.busy_s_per_request == pytest.approx(8.0 / 3.0)
        assert metrics.devices["cuda:0"].energy_j_per_request == pytest.approx(500.0)

    def test_achieve_what_they_computed_while_busy_as_a_share_of_their_peaks(self):
        metrics = self.both()
        assert metrics.devices["cuda:0"].flops_per_s == pytest.approx(1e9)
        assert metrics.devices["cuda:0"].mfu == pytest.approx(0.1)
        assert metrics.device.flops_per_s == pytest.approx(3e9 / 8.0)
        assert metrics.device.mfu == pytest.approx(3e9 / 8e10)

    def test_have_no_sum_where_one_of_them_was_not_measured(self):
        device = measured(telemetry=on("cuda:0", gpu_power_w=[100.0] * 11)).device
        assert device.power_w is None

    def test_are_named_in_findings(self):
        logs = made_logs(telemetry=self.telemetry())
        metrics = compute_metrics(logs, 10.0, hardware=Hardware(TWO))
        texts = [finding.message for finding in check(Evidence(logs, metrics, 10.0))]
        assert (
            "the GPU cuda:1 lowered its clock in 100 % of the samples, because of its power limit"
            in texts
        )

    def test_make_a_table_with_a_column_each(self):
        table = device_table(self.both())
        assert table.names == ("cuda:0", "cuda:1")
        assert ("power, mean", ("100 W", "300 W")) in table.rows
        assert not [name for name, _ in table.rows if "CPU" in name]

    def test_survive_a_round_trip_through_json(self):
        metrics = self.both()
        assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics


class TestFlops:
    @pytest.mark.parametrize(
        ("flops", "peaks", "expected"),
        [
            (2e9, {"cuda:0": 1e10}, (1e9, 0.1)),
            (2e9, {}, (1e9, None)),  # no published peak: what was achieved alone
            (None, {"cuda:0": 1e10}, (None, None)),  # not counted
        ],
    )
    def test_are_of_the_answers_over_busy_time(self, flops, peaks, expected):
        hardware = Hardware(Devices(("cuda:0",)), None, flops, peaks)
        requests = [answer(0, 4.0), answer(0, 4.0, "failed")]
        device = measured([batch(0, 0, 2, 4)], requests=requests, hardware=hardware).device
        assert (device.flops_per_s, device.mfu) == expected

    def test_are_none_where_nothing_was_answered(self):
        hardware = Hardware(Devices(("cpu",)), None, 2e9)
        assert measured([batch(0, 0, 2, 4)], hardware=hardware).device.flops_per_s is None


class TestThrottling:
    @pytest.mark.parametrize(
        ("mask", "expected"),
        [
            (0x0, ()),
            (0x1, ("nothing to do",)),
            (0x4, ("its power limit",)),
            (0x2 | 0x20, ("the clocks that were set for it", "its temperature (software)")),
            (0x8 | 0x40, ("a hardware slowdown", "its temperature (hardware)")),
            (0x1000, ()),  # a bit that is not known yet
        ],
    )
    def test_is_decoded_into_words(self, mask, expected):
        assert words(mask) == expected

    def test_is_no_limit_where_the_gpu_idles_or_was_set_so(self):
        assert words(0x1 | 0x2 | 0x10 | 0x100, limiting=True) == ()

    def test_leaves_out_samples_that_were_not_measured(self):
        rows = on("cuda:0", gpu_throttle_reasons=[4, 0, np.nan, np.nan])
        device = measured(telemetry=rows, hardware=only()).device
        assert device.throttled_fraction == pytest.approx(0.5)


CONFIG = {"replicas": 2, "replica_devices": ["cuda:0", "cuda:1"], "device": "cuda:0,cuda:1"}
ENVIRONMENT = {
    "cores": 4,
    "flops": {"per_request": 1e9, "requests": 1},
    "devices": {
        "cuda:0": {"peak_flops_per_s": 1e10, "nvml_utilization_period_s": 0.1},
        "cuda:1": {"peak_flops_per_s": 1e10, "nvml_utilization_period_s": None},
    },
}


class TestARunOnDisk:
    def run(self, tmp_path, **record):
        logs = made_logs(
            [answer(0, 2.0), answer(1, 6.0)],
            [batch(0, 0, 0, 2), batch(1, 1, 0, 6)],
            TestSeveralDevices().telemetry(),
        )
        known = {"config": CONFIG, "environment": ENVIRONMENT}
        return written_run(tmp_path / "run", logs, window_s=10.0, **(known | record))

    def test_is_analysed_with_its_devices_and_peaks(self, tmp_path):
        run = self.run(tmp_path)
        assert run.metrics.device.mfu == pytest.approx(2e9 / 8e10)
        assert run.metrics.devices["cuda:1"].busy_fraction == pytest.approx(0.6)
        assert Run.load(run.path).devices.names == ("cuda:0", "cuda:1")

    def test_says_what_the_driver_and_the_flop_counter_said(self, tmp_path):
        text = shown(self.run(tmp_path))
        assert "NVML utilisation 75 % (over 100 ms each)" in text
        assert "400 W" in text
        assert "2,000 J a request by power readings, integrated" in text
        assert "250 MFLOP/s while busy, 2.5 % of the peak (MFU)" in text

    def test_states_the_documented_period_where_the_driver_tells_none(self, tmp_path):
        assert "(over 1/6 to 1 s each)" in shown(self.run(tmp_path, environment={"cores": 4}))

    def test_of_an_older_version_has_each_replica_as_a_device(self, tmp_path):
        run = self.run(tmp_path, config={"replicas": 2}, environment={})
        assert run.metrics.device.busy_fraction == pytest.approx(0.4)
        assert run.metrics.devices == {}

    @pytest.mark.parametrize(
        "environment",
        [
            {"devices": None, "flops": None},
            {"devices": ["cuda:0"], "flops": {"per_request": "many"}},
            {"devices": {"cuda:0": None}, "flops": {"per_request": 0}},
        ],
    )
    def test_with_odd_notes_is_analysed_without_them(self, tmp_path, environment):
        device = self.run(tmp_path, environment=environment).metrics.device
        assert device.flops_per_s is None
        assert device.mfu is None

    def test_has_every_new_metric_in_its_json_and_in_words(self, tmp_path):
        run = self.run(tmp_path)
        record = json.loads((run.path / "run.json").read_text())
        shown_keys = {row.key for row in metric_rows(run.metrics)}
        for key in record["metrics"]["device"]:
            assert f"device.{key}" in shown_keys


def shown(run):
    from rich.console import Console

    console = Console(width=140, no_color=True)
    with console.capture() as capture:
        console.print(summary(run))
    return capture.get()
