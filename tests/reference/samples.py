"""A device, a plan's steps and what parts wrote, as tests take them."""

from tests.reference.budget import Cost
from tests.reference.plan import Step

H100 = {"device": "cuda:0", "name": "NVIDIA H100 80GB HBM3", "slug": "h100"}
STEPS = [
    Step("sanity", "sanity", Cost(5, 0, 0), "sanity"),
    Step("profile", "profile eager", Cost(10, 20, 5), "profiles"),
    Step("profile", "profile cudagraph", Cost(10, 20, 5), "profiles"),
    Step("bench", "bench", Cost(10, 60, 20), "replays"),
]


def replayed(p99_s, predicted_s=0.011):
    values = {
        "throughput_rps": 900.0,
        "latency_s.p50": 0.004,
        "latency_s.p99": p99_s,
        "batch.mean_size": 8.0,
    }
    return {
        "settings": {"replay": {"duration": 8.0}},
        "command": "dynbatch bench --trace=bursty.json",
        "valid": True,
        "findings": [],
        "predicted": {**values, "latency_s.p99": predicted_s},
        "measured": values,
        "metrics": {
            "offered_rps": 900.0,
            "latency_s": {"p50": 0.004, "p99": p99_s},
            "batch": {"mean_size": 8.0},
            "device": {
                "busy_fraction": None,
                "mfu": None,
                "energy_j_per_request": None,
                "sm_clock_mhz": None,
            },
        },
    }


def profiled(engine, peak_rps, alone_rps):
    return {
        "model": "resnet50",
        "dtype": "fp16",
        "engine": engine,
        "peak_rps": peak_rps,
        "peak_batch_size": 64,
        "batching_gain": peak_rps / alone_rps,
        "cold_start_s": {"load": 2.0, "first_request": None, "warm_up": 3.0},
        "sizes": [{"batch_size": 1, "rate_rps": alone_rps}],
        "command": f"dynbatch profile --engine {engine}",
    }


def arm(rate_rps, engine="cudagraph", *, missed=True):
    trial = {"rate_rps": rate_rps, "p99_s": 0.045, "met": True}
    knobs = {"policy": "timeout", "max_batch_size": 64, "batch_timeout_ms": 0.0, "in_flight": 2}
    return {
        "engine": engine,
        "batcher": knobs,
        "rate_rps": rate_rps,
        "missed_at_rps": 1.04 * rate_rps if missed else None,
        "trials": [trial],
    }


def saturated(share_of_alone=0.98, share_of_bare=1.12):
    """One batch size of the part `saturation`."""
    one = {
        "rps": 100.0,
        "cpu_s_per_request": 1e-4,
        "share_of_alone": share_of_alone,
        "share_of_bare": share_of_bare,
        "device_busy_share": 0.97,
    }
    return {
        "alone": {"rps": 102.0},
        "bare": {"rps": 90.0, "cpu_s_per_request": 1e-4},
        "in_flight_1": {**one, "share_of_alone": 0.9, "share_of_bare": 1.0},
        "in_flight_2": one,
    }


def kernel(ts, dur, name="void gemm<float>(int*)", cat="kernel"):
    return {"ph": "X", "cat": cat, "ts": ts, "dur": dur, "name": name}
