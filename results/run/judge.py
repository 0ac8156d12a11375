"""The verdicts of a run: from its logs to what each SLO looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results.arrays import BoolArray, FloatArray
from results.run.breakdown import breakdown
from results.run.intervals import Devices, busy_between
from results.run.logs import RunLogs, floats, has_status, inside
from results.run.slo import Kind, Slo, goodput_limit_s
from results.run.verdict import (
    CONFIDENCE,
    Verdict,
    judge_all,
    judge_means,
    judge_share,
    judge_values,
)
from results.statistics.correlated import BATCHES

LIVE = (Kind.LATENCY, Kind.ENDING, Kind.RATE)
"""What can be judged from the answers alone, without batches and telemetry."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How requests ended, in the order of their schedule.

    Args:
        scheduled_s: When each was due, seconds after the start of the window, `[N]`.
        ended_s: When it ended, NaN if it has not, `[N]`.
        status: One of `log.STATUSES`, `[N]`.
        retried: Whether it was tried more than once, `[N]`.
    """

    scheduled_s: FloatArray
    ended_s: FloatArray
    status: np.ndarray[tuple[int], np.dtype[np.object_]]
    retried: BoolArray

    @property
    def ok(self) -> BoolArray:
        """Which were answered, `[N]`."""
        return np.asarray(self.status == "ok", dtype=np.bool_)

    def latency_s(self) -> FloatArray:
        """Return ended - scheduled of those that were answered, infinity for all others, `[N]`."""
        return np.where(self.ok, self.ended_s - self.scheduled_s, np.inf)

    def withdrawn(self, window_s: float) -> BoolArray:
        """Return which were cancelled inside the window, and so by their callers, `[N]`.

        What is cancelled after it was given up by the run: those callers got no answer.
        """
        cancelled = np.asarray(self.status == "cancelled", dtype=np.bool_)
        return cancelled & (self.ended_s < window_s)


def answers_of(logs: RunLogs) -> Answers:
    """Return the answers of a request log."""
    requests = logs.requests
    return Answers(
        scheduled_s=floats(requests, "scheduled_s"),
        ended_s=floats(requests, "ended_s"),
        status=np.asarray(requests["status"], dtype=object),
        retried=np.asarray(requests["attempts"], dtype=np.int64) > 1,
    )


def judge_answers(
    answers: Answers,
    slos: Sequence[Slo],
    window_s: float,
    *,
    confidence: float = CONFIDENCE,
    judge_other: "_Other | None" = None,
) -> list[Verdict]:
    """Judge SLOs on latency, endings and rates.

    Args:
        answers: Of all requests, those before and after the window too.
        slos: Judged together: all decisions are right with probability `confidence`.
        window_s: The measured window [0, window_s).
        confidence: Of all of them together.
        judge_other: Judges what needs more than the answers.
    """
    within = inside(answers.scheduled_s, window_s)
    withdrawn = answers.withdrawn(window_s)
    counts = within & ~withdrawn
    latency_s = answers.latency_s()
    goodput_s = goodput_limit_s(tuple(slos))

    def judge_one(slo: Slo, at: float) -> Verdict:
        kind, name = slo.objective.kind, slo.metric.rpartition(".")[2]
        if kind is Kind.LATENCY:
            verdict = judge_values(latency_s[counts], slo, window_s=window_s, confidence=at)
            return verdict.model_copy(update={"excluded": int((within & withdrawn).sum())})
        if kind is Kind.ENDING:
            happened = answers.retried if name == "retried" else answers.status == name
            return judge_share(
                np.asarray(happened, dtype=np.bool_)[within],
                latency_s[within],
                slo,
                window_s=window_s,
                confidence=at,
            )
        if kind is Kind.RATE:
            good = answers.ok
            if name == "goodput_rps":
                good = good & (latency_s <= (np.inf if goodput_s is None else goodput_s))
            rates = _rates(answers.ended_s[good], window_s)
            return judge_means(rates, slo, window_s=window_s, confidence=at)
        assert judge_other is not None  # noqa: S101 - a caller without logs checks the kinds first
        return judge_other(slo, at)

    return judge_all(slos, judge_one, confidence=confidence)


def judge_run(
    logs: RunLogs,
    slos: Sequence[Slo],
    window_s: float,
    *,
    replicas: int = 1,
    devices: Devices | None = None,
    looks: int = 1,
    pass_s: float | None = None,
    population: str = "this process",
) -> list[Verdict]:
    """Judge a run's SLOs.

    Args:
        logs: Its logs.
        slos: The objectives.
        window_s: Its window [0, window_s), seconds.
        replicas: How many workers served.
        devices: Which device each of them worked on; if not given, each counts as one of its own.
        looks: How many times the run was planned to be looked at until it was decided; each look
            has its part of the error (Bonferroni).
        pass_s: Of a looped recording, how long one pass lasts; only the first is evidence.
        population: What the verdicts are about.
    """
    if not slos:
        return []
    evident_s = window_s if pass_s is None else min(window_s, pass_s)
    other = _Other(logs, evident_s, replicas, devices or Devices.apart(replicas))
    verdicts = judge_answers(
        answers_of(logs),
        slos,
        evident_s,
        confidence=1.0 - (1.0 - CONFIDENCE) / looks,
        judge_other=other,
    )
    return [verdict.model_copy(update={"population": population}) for verdict in verdicts]


class _Other:
    """Judges what needs the batches, or the times inside a request."""

    def __init__(self, logs: RunLogs, window_s: float, replicas: int, devices: Devices) -> None:
        self._logs = logs
        self._devices = devices
        self._window_s = window_s
        self._replicas = replicas

    def __call__(self, slo: Slo, confidence: float) -> Verdict:
        """Judge an SLO on a part of latency, on slip or on the busy fraction."""
        window_s = self._window_s
        if slo.objective.kind is Kind.BUSY:
            return judge_means(self._busy(), slo, window_s=window_s, confidence=confidence)
        requests = self._logs.requests
        name = slo.metric.rpartition(".")[2]
        rows = inside(floats(requests, "scheduled_s"), window_s)
        if slo.objective.kind is Kind.SLIP:
            values = (floats(requests, "enqueued_s") - floats(requests, "scheduled_s"))[rows]
        else:
            rows &= has_status(requests, "ok")
            parts = breakdown(requests, self._logs.batches, self._replicas)
            values = floats(parts, name)[rows]
        values = values[np.isfinite(values)]
        return judge_values(values, slo, window_s=window_s, confidence=confidence)

    def _busy(self) -> FloatArray | None:
        edges_s = np.linspace(0.0, self._window_s, BATCHES + 1)
        busy_s = busy_between(self._logs.batches, self._devices, edges_s)
        if busy_s is None:
            return None
        return busy_s * BATCHES / (len(self._devices.names) * self._window_s)


def _rates(times_s: FloatArray, window_s: float) -> FloatArray:
    """Return how many of the times fall into each batch of the window, per second."""
    edges_s = np.linspace(0.0, window_s, BATCHES + 1)
    counts, _ = np.histogram(times_s[inside(times_s, window_s)], edges_s)
    return counts * BATCHES / window_s
