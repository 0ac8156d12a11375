"""Searches without a profile: each trial is a run on the device, under arrivals of its own.

All get the device time that `dynbatch tune` took, and the space that it searched. A capacity takes
several loads to measure: each is a run. What a search hands over is the best of its own
measurements that met the SLO; if none did, the one that missed it least.

`tpe`: Optuna's TPE as it comes, with the SLO as a constraint that the sampler knows.

`random`: settings at random, batch sizes on a logarithmic scale.

`model analyzer`: a reading of the Optuna mode of Triton's Model Analyzer, from its source
(github.com/triton-inference-server/model_analyzer, `optuna_run_config_generator.py` of 2024, and
docs/config_search.md). What was read: the default configuration is measured first; TPE as it comes
maximises the gain over it; a trial is one measurement; batch sizes are powers of two, delays a
list that the user gives; a minimum and a maximum share of the space is tried, 5 and 10 % unless
told, and past the minimum it ends after 10 trials without a better one; constraints play no part
in the score and are applied when results are filtered. What is our reading: its default space has
440 configurations (8 batch sizes x 5 instance counts x 11 concurrencies), hence 22 to 44 trials,
and that many it gets here too, for powers of two x the ten delays of the grid, in place of
instances and concurrencies, which a load that is given has no use for. Five to ten percent of
these 80 to 90 would be 4 to 9 trials, all of them at random.
"""

from dataclasses import dataclass
from math import inf, log

import optuna

from bench.settings import BatcherSettings

SEARCHES = ("tpe", "random", "model analyzer")
LEAST, MOST, WITHOUT_BETTER = 22, 44, 10
_OTHER = 1_000


@dataclass(frozen=True)
class Tried:
    """One trial: its setting, what was measured, and by how much the SLO was missed."""

    settings: BatcherSettings
    value: float
    excess: float


@dataclass(frozen=True)
class Search:
    """One search.

    Attributes:
        space: what is searched.
        delays_ms: those of the grid.
        device: what it runs on.
        budget_s: device time it has.
        seed: of sampler and arrivals.
    """

    space: object
    delays_ms: tuple
    device: object
    budget_s: float
    seed: int

    def run(self, name):
        """Search, and hand over a setting.

        Returns:
            The setting, and how many trials there were.
        """
        tried = list(self._analyzer() if name == "model analyzer" else self._plain(name))
        sign = -1.0 if self.device.objective.maximise else 1.0
        met = [one for one in tried if one.excess <= 0.0 and 0.0 < one.value < inf]
        best = min(met, key=lambda one: sign * one.value, default=None)
        best = best or min(tried, key=lambda one: one.excess)
        return best.settings, len(tried)

    def _plain(self, name):
        # TPE begins at random too: of the same seed, the two would be one search for a while.
        study = self._study(
            optuna.samplers.TPESampler(seed=self.seed)
            if name == "tpe"
            else optuna.samplers.RandomSampler(seed=_OTHER + self.seed)
        )
        while self._affordable():
            trial = study.ask()
            one = self._try(self.space.settings(self.space.suggest(trial)))
            trial.set_constraint("slo", min(one.excess, 3.0))
            study.tell(trial, min(one.value, 1e3))
            yield one

    def _analyzer(self):
        sizes = self.space.ranges["max_batch_size"]
        study = self._study(optuna.samplers.TPESampler(seed=self.seed), "maximize")
        sign = 1.0 if self.device.objective.maximise else -1.0
        usual = BatcherSettings()
        default = self._try(
            usual.model_copy(update={"max_batch_size": min(usual.max_batch_size, sizes.high)})
        )
        yield default
        best, best_at = 0.0, 0
        for number in range(1, MOST + 1):
            if not self._affordable() or (
                number > LEAST and number - 1 - best_at >= WITHOUT_BETTER
            ):
                return
            trial = study.ask()
            size = 2 ** trial.suggest_int("max_batch_size", 0, sizes.high.bit_length() - 1)
            delay_ms = trial.suggest_categorical("max_queue_delay", self.delays_ms)
            one = self._try(
                self.space.settings({"max_batch_size": size, "batch_timeout_ms": delay_ms})
            )
            gain = -1.0
            if 0.0 < one.value < inf and 0.0 < default.value < inf:
                gain = sign * log(one.value / default.value)
            study.tell(trial, gain)
            if gain > best:
                best, best_at = gain, number
            yield one

    def _study(self, sampler, direction=None):
        direction = direction or ("maximize" if self.device.objective.maximise else "minimize")
        return optuna.create_study(sampler=sampler, direction=direction)

    def _affordable(self):
        return self.device.spent_s + self.device.run_s <= self.budget_s

    def _try(self, settings):
        if self.device.objective.name == "capacity":
            rps = self.device.capacity_rps(settings, self.seed)
            return Tried(settings, rps, 0.0 if rps else inf)
        measured = self.device.measure(settings, self.seed)
        return Tried(settings, inf if measured.value is None else measured.value, measured.excess)
