"""The machine's own stalls, seen by an idle process that only sleeps and looks at the clock.

It is a process of its own, not a thread: a thread would also wait for this process's interpreter
lock and would blame the machine for it.
"""

import subprocess
import sys
from typing import Self

import numpy as np
import pandas as pd

# Runs in a bare interpreter. perf_counter is one clock for all processes of a machine.
_WATCH = """
import ctypes, sys, time
try:
    ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)
except (OSError, AttributeError):
    pass
period_s = float(sys.argv[1])
now, sleep, rows = time.perf_counter, time.sleep, []
sys.stdout.write("ready\\n"); sys.stdout.flush()
import threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    due = now() + period_s
    sleep(period_s)
    rows.append((due, now() - due))
sys.stdout.write("".join(f"{due!r} {late!r}\\n" for due, late in rows))
"""


class StallWatch:
    """Samples how late an idle process is woken, every few milliseconds, until stopped."""

    def __init__(self, period_s: float = 0.005) -> None:
        self._period_s = period_s
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start sampling."""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own text
            [sys.executable, "-I", "-S", "-c", _WATCH, str(self._period_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # if this process is killed, it need not say so
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, if `stop` was not called."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def stop(self, start_s: float) -> pd.DataFrame:
        """End the sampling and return `at_s` (relative to `start_s`) and `late_s`, seconds."""
        process, self._process = self._process, None
        if process is None:
            return pd.DataFrame({"at_s": np.empty(0), "late_s": np.empty(0)})
        output, _ = process.communicate(timeout=30)
        samples = np.array([line.split() for line in output.splitlines()], dtype=np.float64)
        samples = samples.reshape(-1, 2)
        return pd.DataFrame({"at_s": samples[:, 0] - start_s, "late_s": samples[:, 1]})

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
