import numpy as np
import pytest

from results.run.metrics import compute_metrics
from results.run.validity import Evidence, FindingCode, check
from tests.results.made import answered, made_logs, served_logs
from tests.results.queues import Server, poisson, serve

ENOUGH = answered([0.1] * 459)


def findings(logs, window_s=10.0, config=None, pass_s=None):
    metrics = compute_metrics(logs, window_s, replicas=1, cores=2)
    return check(Evidence(logs, metrics, window_s, config or {}, pass_s))


def codes(logs, window_s=10.0):
    return [finding.code.value for finding in findings(logs, window_s)]


def only(logs, window_s=10.0, config=None):
    (finding,) = findings(logs, window_s, config)
    return finding


def sampled(column, values):
    return [{"t_s": 0.1 * i, column: value} for i, value in enumerate(values)]


def late(slip_s, latency_s, number=500):
    """Answered requests that were all sent late by the same time."""
    return [
        row | {"enqueued_s": row["scheduled_s"] + slip_s} for row in answered([latency_s])
    ] * number


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        (made_logs(ENOUGH), []),  # 459 answered is just enough for a p99
        (made_logs(ENOUGH[1:]), ["too_few_requests"]),
        (made_logs(), ["too_few_requests"]),
        (made_logs(late(0.010, 0.100)), []),  # the budget is 10 % and includes it
        (made_logs(late(0.011, 0.100)), ["slip_over_budget"]),
        (made_logs([*ENOUGH, {"ended_s": 1.0, "status": "failed"}]), ["errors"]),
        (made_logs([*ENOUGH, {"ended_s": 1.0, "status": "expired"}]), []),  # its own metric
        (made_logs(ENOUGH, (), sampled("gpu_throttle_reasons", [0, 0x1, 0x2])), []),  # idle, set
        (made_logs(ENOUGH, (), sampled("gpu_throttle_reasons", [0, 0x4])), ["gpu_throttled"]),
        (made_logs(ENOUGH, (), sampled("gpu_throttle_reasons", [0x48])), ["gpu_throttled"]),
        (made_logs(ENOUGH, (), [{"t_s": 11.0, "gpu_throttle_reasons": 0x4}]), []),  # afterwards
        (made_logs(ENOUGH, (), sampled("gpu_other_processes", [0, 0, 2])),
         ["competing_processes"]),
        (made_logs(ENOUGH, (), sampled("gpu_other_processes", [0, np.nan])), []),
    ],
)  # fmt: skip
def test_a_run_is_valid_unless_one_of_the_closed_list_is_found(logs, expected):
    assert codes(logs) == expected


def test_a_single_throttled_sample_in_two_hundred_is_let_pass():
    once = sampled("gpu_throttle_reasons", [0x4] + [0] * 200)
    assert codes(made_logs(ENOUGH, (), once), window_s=30.0) == []


def test_the_gravest_finding_comes_first():
    rows = [*answered([1.0] * 3), {"ended_s": 1.0, "status": "failed"}]
    assert codes(made_logs(rows, (), sampled("gpu_other_processes", [1]))) == [
        "errors",
        "too_few_requests",
        "competing_processes",
    ]


def test_a_slow_sender_is_told_apart_from_a_noisy_machine():
    def remedy(stall_s):
        stalls = [{"at_s": 1.0, "late_s": stall_s}]
        return only(made_logs(late(0.020, 0.100), stalls=stalls))

    calm, noisy = remedy(0.001), remedy(0.018)
    assert "woke up late by 1.00 ms at p99" in calm.message
    assert calm.remedy.startswith("The machine is calm")
    assert "woke up late by 18.0 ms at p99" in noisy.message
    assert noisy.remedy.startswith("The machine is noisy")


def test_without_a_stall_log_the_message_says_that_stalls_were_not_measured():
    assert "stalls were not measured" in only(made_logs(late(0.020, 0.100))).message


def test_the_remedy_for_too_few_requests_is_a_duration_that_suffices():
    finding = only(made_logs(answered([0.1] * 100)), window_s=10.0)
    assert finding.message == "100 requests answered; a p99 at 99 % confidence takes 459"
    assert "Run for 51.0 s or longer" in finding.remedy


@pytest.mark.parametrize(
    ("in_first_pass", "pass_s", "valid"),
    [
        # 459 answers of the first pass are enough, whatever follows
        (459, 4.0, True),
        # one fewer are not, however often they are repeated
        (458, 4.0, False),
        # a run that was interrupted within its first pass repeats nothing
        (458, 10.0, True),
        (458, None, True),
    ],
)
def test_only_one_pass_of_a_looped_recording_is_evidence(in_first_pass, pass_s, valid):
    logs = made_logs(answered([0.1] * in_first_pass, 1.0) + answered([0.1] * 5000, 5.0))
    assert (findings(logs, pass_s=pass_s) == []) is valid


def test_the_remedy_for_too_few_requests_of_a_loop_is_no_longer_run():
    logs = made_logs(answered([0.1] * 100, 1.0) + answered([0.1] * 5000, 5.0))
    (finding,) = findings(logs, pass_s=4.0)
    assert finding.code is FindingCode.TOO_FEW_REQUESTS
    assert finding.message == (
        "100 requests answered in the first pass of the recording, which those after it only "
        "repeat; a p99 at 99 % confidence takes 459"
    )
    assert "dynbatch trace fit" in finding.remedy
    assert "--duration" not in finding.remedy


def test_the_remedy_for_saturation_names_a_load_and_a_limit_that_binds():
    server = Server(base_s=0.02, per_request_s=0.001, max_batch_size=32)
    arrivals = poisson(1.3 * server.peak_rps, 12.0, np.random.default_rng(5))
    finding = only(serve(arrivals, server), 10.0, {"max_batch_size": 32})
    assert finding.code is FindingCode.SATURATED
    assert "offer less than 61" in finding.remedy
    assert "raise --max-batch-size above 32" in finding.remedy


@pytest.mark.parametrize(
    ("config", "helps"),
    [
        ({"max_batch_size": 32}, True),
        ({"max_batch_size": 16, "probe_batch_s": {"16": 0.016, "32": 0.032}}, False),
        ({"max_batch_size": 16, "probe_batch_s": {"16": 0.016, "32": 0.020}}, True),
    ],
    ids=["not known to be slower", "no faster", "faster"],
)
def test_a_larger_batch_is_advised_only_where_it_can_help(config, helps):
    size = config["max_batch_size"]
    server = Server(base_s=0.02, per_request_s=0.001, max_batch_size=size)
    logs = serve(poisson(1.3 * server.peak_rps, 12.0, np.random.default_rng(5)), server)
    finding = only(logs, 10.0, config)
    assert finding.code is FindingCode.SATURATED
    assert ("raise --max-batch-size" in finding.remedy) is helps


def test_throttling_is_reported_with_its_share_and_reasons():
    samples = sampled("gpu_throttle_reasons", [0x4, 0x20, 0, 0])
    message = only(made_logs(ENOUGH, (), samples)).message
    assert message.startswith("the GPU lowered its clock in 50 % of the samples")
    assert message.endswith("because of its power limit and its temperature (software)")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"t_s": 0.1, "gpu_other_processes": 2.0, "gpu_other_bytes": 3.0 * 2**30}],
         "2 other processes computed on the same GPU, holding 3.00 GiB of its memory"),
        # a driver in a container does not tell which process holds what
        ([{"t_s": 0.1, "gpu_other_processes": 1.0, "gpu_other_bytes": np.nan}],
         "1 other process computed on the same GPU"),
        ([{"t_s": 0.1, "device": "cuda:0", "gpu_other_processes": 0.0},
          {"t_s": 0.1, "device": "cuda:1", "gpu_other_processes": 1.0}],
         "1 other process computed on the same GPU (cuda:1)"),
    ],
)  # fmt: skip
def test_competing_processes_are_counted_with_the_memory_they_hold(rows, said):
    assert only(made_logs(ENOUGH, (), rows)).message == said


def test_a_realistic_run_below_its_capacity_is_valid():
    assert codes(served_logs(), window_s=4.0) == []
