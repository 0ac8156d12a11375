"""A live line while a replay runs: elapsed, sent and done, rate, p99, queue depth."""

import math
import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from batching import Clock, Statistics
from bench.console import progress_line
from bench.live.replay import Sent
from bench.targets.contract import Target
from results import format as fmt
from results.statistics.ranks import nearest_rank

_REFRESH_S = 0.25
# The live p99 is over the latest answers only, so that reading them costs the run nothing to
# speak of.
_RECENT = 1000


class Progress:
    """Redraws itself each time `watch` is called, about four times a second.

    Args:
        console: where to draw; a console that is no terminal gets one line at the start.
        sent: what the replay fills.
        target: asked for its queue depth.
        arrival_s: the schedule, seconds after `sent.start_s`.
        clock: real time.
    """

    def __init__(
        self, console: Console, sent: Sent, target: Target, arrival_s: list[float], clock: Clock
    ) -> None:
        self._console = console
        self._sent = sent
        self._target = target
        self._arrival_s = arrival_s
        self._clock = clock
        self._first_recent = 0
        self._last = (clock.now(), 0)
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        """Show the line."""
        total_s = self._arrival_s[-1]
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(
                f"replaying {len(self._arrival_s):,} requests in {fmt.duration(total_s)}"
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._live.stop()

    def watch(self) -> None:
        """Redraw, then sleep until the next redraw is due."""
        time.sleep(_REFRESH_S)
        if self._console.is_terminal:
            self._live.update(self._line(self._target.statistics()), refresh=True)

    def _line(self, counts: Statistics) -> Table:
        total_s = max(self._arrival_s[-1], 1e-9)
        elapsed_s = min(max(self._clock.now() - self._sent.start_s, 0.0), total_s)
        done = len(self._sent.requests) - counts.queue_depth - counts.in_flight
        rate_rps = self._rate(done)
        p99_s = self._recent_p99_s()
        return progress_line(
            self._console.width,
            elapsed_s,
            total_s,
            f"{elapsed_s:5.1f}/{total_s:.0f} s",
            f"sent {len(self._sent.requests):,}",
            f"done {done:,}",
            f"{rate_rps:,.0f} req/s",
            "p99 -" if math.isnan(p99_s) else f"p99 {p99_s * 1e3:.1f} ms",
            f"queue {counts.queue_depth:,}",
        )

    def _rate(self, done: int) -> float:
        last_s, last_done = self._last
        now_s = self._clock.now()
        self._last = (now_s, done)
        return max(0, done - last_done) / max(now_s - last_s, 1e-9)

    def _recent_p99_s(self) -> float:
        """p99 latency of the latest answered requests; nan before there is any."""
        requests, start_s = self._sent.requests, self._sent.start_s
        last = len(requests)
        latencies: list[float] = []
        for i in range(max(0, last - 1, 0), max(-1, last - 4 * _RECENT), -1):
            batch = requests[i].batch
            if requests[i].status == "ok" and batch is not None:
                latencies.append(batch.delivered_s - start_s - self._arrival_s[i])
            if len(latencies) == _RECENT:
                break
        latencies = sorted(value for value in latencies if not math.isnan(value))
        if not latencies:
            return math.nan
        return latencies[nearest_rank(0.99, len(latencies)) - 1]
