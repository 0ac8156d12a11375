"""The cases of the table: models x traces x objectives.

The batch times of `mlp` are those of a profile that was measured on a quiet machine of two cores of
an AMD EPYC (`dynbatch profile --model mlp`); those of the others are formulas. All are both what is
searched with and the truth: what an error of the profile costs is another question.
"""

import os
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from batching import RealClock, load_model
from batching.profiles import load_profile
from bench.profiling.service_times import ExactSource, ProfileSource
from bench.settings import ReplaySettings
from bench.tuning.search.objectives import Limit, Statistic
from bench.tuning.simulated.simulator import Traffic
from tests.search_quality.regret import Case, question_of, report

MLP = Path(__file__).with_name("data") / "mlp-cpu.json"
MODELS = ("affine:5,0.1", "roofline:0.5,4,0.25", "mlp")
RECORDING = "recording"
TRACES = ("poisson", "bursty", RECORDING)
OBJECTIVES = ("latency", "device-time", "capacity")
# Between what a lone request needs and what the emptiest device could hold it for.
LIMIT_S = 0.03
LOAD = 0.3
# Of the draws that are tuned for, and of the truth's. A recording is stretched to the load, and at
# 2,600 req/s an hour of a few requests per second is over in seconds; so many requests are in 4 s.
ASKED_S, SHORT_S = 10.0, 4.0
WINDOW_S = {"mlp": 3.0, "affine:5,0.1": 4.0, "roofline:0.5,4,0.25": 4.0}


@dataclass(frozen=True)
class Asked:
    """One row of the table, by name."""

    model: str
    trace: str
    objective: str
    draws: int
    seeds: int

    @property
    def key(self):
        """What identifies it among results that are kept."""
        return " ".join(map(str, (self.model, self.trace, self.objective, self.draws, self.seeds)))


def case_of(asked):
    """The case of that name."""
    source = (
        ProfileSource(load_profile(MLP))
        if asked.model == "mlp"
        else ExactSource(load_model(asked.model, clock=RealClock()))
    )
    trace = os.environ["DYNBATCH_RECORDING"] if asked.trace == RECORDING else f"{asked.trace}.json"
    short = asked.trace == RECORDING or asked.model == "mlp"
    replay = ReplaySettings(trace=trace, utilization=LOAD, duration=SHORT_S if short else ASKED_S)
    limit = None if asked.objective == "latency" else Limit(Statistic(0.99), LIMIT_S)
    return Case(
        question_of(asked.objective, limit),
        source,
        Traffic.of(replay, lambda: source.peak_rps),
        draws=asked.draws,
        window_s=WINDOW_S[asked.model],
        seeds=asked.seeds,
    )


def carry_out(asked):
    """One case, in a process of its own."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began_s = time.monotonic()
    found = report(case_of(asked))
    return {
        "model": asked.model, "trace": asked.trace, "objective": asked.objective,
        **found, "took_s": time.monotonic() - began_s,
    }  # fmt: skip


def chosen(words, draws, seeds):
    """The cases that are asked for: all, or those that a word names."""
    for case in product(MODELS, TRACES, OBJECTIVES):
        known = zip(case, (MODELS, TRACES, OBJECTIVES), strict=True)
        named = all(word in words or set(words).isdisjoint(among) for word, among in known)
        if named and (case[1] != RECORDING or "DYNBATCH_RECORDING" in os.environ):
            yield Asked(*case, draws, seeds)
