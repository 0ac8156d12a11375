"""From a live batcher through its recorder's file back to a bench."""

import json
import sys

import numpy as np
import pytest

from batching import DynamicBatcher, RealClock
from bench import cli
from bench.live.replay import Sent, replay
from workloads import Poisson, TraceRecorder, load


@pytest.fixture
def recorded(tmp_path):
    """A recording of a quarter of a second of Poisson traffic, and what the batcher stamped."""
    clock, path = RealClock(), tmp_path / "live.rec"
    at_s = Poisson().arrivals(2000.0, 0.25, np.random.default_rng(5))
    with TraceRecorder(path, size_of=len) as recorder:
        batcher = DynamicBatcher(
            lambda payloads: payloads, batch_timeout_ms=1, recorder=recorder, clock=clock
        )
        with batcher:
            sent = Sent(clock.now())
            replay(batcher, at_s.tolist(), ["abc", "de"], clock, sent)
    return path, np.array([request.enqueued_s for request in sent.requests])


def test_a_recording_has_the_gaps_of_the_live_requests_to_a_microsecond(recorded):
    path, enqueued_s = recorded
    trace = load(path).trace
    assert len(trace) == len(enqueued_s) > 300
    error_s = np.abs(np.diff(trace.arrival_s) - np.diff(enqueued_s))
    assert np.quantile(error_s, 0.99) < 100e-6
    assert error_s.max() < 1e-6
    assert trace.input_tokens.tolist() == [3 - i % 2 for i in range(len(trace))]


def test_a_recording_is_replayed_as_it_is(recorded, monkeypatch, capsys, tmp_path):
    path, enqueued_s = recorded
    monkeypatch.chdir(tmp_path)
    command = ["dynbatch", "bench", "--trace", str(path), "--model", "affine:0.5,0.01"]
    monkeypatch.setattr(sys, "argv", [*command, "--out", "run", "--quiet"])
    assert cli.run() == 0
    assert capsys.readouterr().out == ""
    trace = json.loads((tmp_path / "run" / "run.json").read_text())["trace"]
    assert (trace["format"], trace["requests"]) == ("dynbatch-recording", len(enqueued_s))
