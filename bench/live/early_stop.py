"""Looking at a run while it goes on, to end it once its SLOs are decided.

The looks are planned before the run: at the duration asked for, and each time twice as long, up to
the longest. A look that could end the run is a chance to be wrong, so the error of 1 % is shared
among them all (Bonferroni): each is taken at 1 - 0.01 / looks.
"""

from array import array
from collections.abc import Sequence
from math import inf, isnan

import numpy as np

from bench.live.replay import Sent
from results.arrays import FloatArray
from results.run.judge import Answers, judge_answers
from results.run.slo import Kind, Slo
from results.run.verdict import CONFIDENCE, Decision

LONGEST_S = 600.0
"""LoadGen's shortest run for a server, and our longest unless told."""


def planned(duration_s: float, longest_s: float) -> tuple[float, ...]:
    """Return when to look: at the duration, at each doubling of it, and at the longest."""
    times_s = [duration_s]
    while times_s[-1] * 2.0 < longest_s:
        times_s.append(times_s[-1] * 2.0)
    return (*times_s, longest_s) if longest_s > times_s[-1] else tuple(times_s)


class SequentialStop:
    """Ends a replay once every SLO is decided.

    Answers are collected little by little, so that a look does not hold up the run for long.

    Args:
        times_s: The planned looks, seconds after the window's start, ascending; the last is the
            window's end, where the run ends by itself.
        slos: What is to be decided; of the kinds in `results.run.judge.LIVE`.
        arrival_s: The schedule, `[N]`.
        tail_s: How long arrivals go on after the window that decides.
    """

    def __init__(
        self, times_s: Sequence[float], slos: Sequence[Slo], arrival_s: FloatArray, tail_s: float
    ) -> None:
        self.window_s: float | None = None
        self.hopeless = False
        self._left = list(times_s[:-1])
        self._slos = slos
        self._arrival_s = arrival_s
        self._tail_s = tail_s
        self._confidence = 1.0 - (1.0 - CONFIDENCE) / len(times_s)
        self._ended_s = array("d")
        self._status: list[str] = []
        self._retried: list[bool] = []
        self._patience_s = max((_patience_s(slo) for slo in slos), default=0.0)

    def watch(self, sent: Sent, now_s: float) -> None:
        """Collect what has ended, look if a look is due, and stop the sending when it is over.

        Args:
            sent: What the replay has sent; its `stop` is set.
            now_s: Seconds of the clock.
        """
        elapsed_s = now_s - sent.start_s
        if self.window_s is None:
            self._collect(sent)
            while len(self._left) > 1 and elapsed_s >= self._left[1]:
                self._left.pop(0)  # its answers have not come in time; the next look is due
            if self._left and elapsed_s >= self._left[0] and self._complete(elapsed_s):
                self._look(self._left.pop(0), sent)
        if self.window_s is not None and elapsed_s >= self.window_s + self._tail_s:
            sent.stop.set()

    def _collect(self, sent: Sent) -> None:
        requests, first = sent.requests, len(self._status)
        for i in range(first, len(requests)):
            request = requests[i]
            if not request.done():
                return
            ended_s = request.ended_s
            if request.batch is not None and isnan(ended_s):
                ended_s = request.batch.delivered_s
                if isnan(ended_s):
                    return  # its batch is being handed over at this moment
            self._ended_s.append(sent.ended_s.get(i, ended_s) - sent.start_s)
            self._status.append(request.status)
            self._retried.append(request.attempts > 1)

    def _complete(self, elapsed_s: float) -> bool:
        """Return whether all that were due in the window have ended, or are late past doubt."""
        due = int(np.searchsorted(self._arrival_s, self._left[0]))
        return len(self._status) >= due or elapsed_s - self._left[0] > self._patience_s

    def _look(self, window_s: float, sent: Sent) -> None:
        due = min(int(np.searchsorted(self._arrival_s, window_s)), len(sent.requests))
        count = max(due, len(self._status))
        missing = count - len(self._status)
        answers = Answers(
            scheduled_s=self._arrival_s[:count],
            ended_s=np.append(np.frombuffer(self._ended_s), np.full(missing, np.nan)),
            status=np.array([*self._status, *["waiting"] * missing], dtype=object),
            retried=np.array([*self._retried, *[False] * missing], dtype=np.bool_),
        )
        verdicts = judge_answers(answers, self._slos, window_s, confidence=self._confidence)
        if all(verdict.decision is not Decision.UNDECIDED for verdict in verdicts):
            self.window_s = window_s


def _patience_s(slo: Slo) -> float:
    """Return after how long an unanswered request is past its limit whenever it may still end."""
    objective = slo.objective
    if objective.kind is Kind.RATE:
        return 0.0
    if objective.kind is Kind.LATENCY and objective.level is not None:
        return slo.limit
    return inf
