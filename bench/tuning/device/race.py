"""Stage 2: settings against each other under the same arrivals, until it is clear who loses.

Every draw of the arrivals is served by all settings that are still in the race, in a random order
and in the next draw in its reverse, so that a drift of the machine that is linear over two draws
meets all alike. After each draw from the third on, a setting is dropped
if it is surely worse than the one that leads, and by more than the 2 % that count as a tie;
"surely" is a one-sided paired t test whose error is split over the settings and over the looks
(Bonferroni), so that all in all a race drops the best setting with probability 5 % at most.
(Racing: Maron and Moore, NeurIPS 1994; with paired blocks: Birattari et al., GECCO 2002.)

Like the tuner, a race runs nothing itself: ask, run, tell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, log1p

import numpy as np

from results.statistics.paired import Effect, effect_of

ERROR = 0.05
TIE = 0.02
_FIRST_LOOK = 3
_UNABLE = 2


@dataclass(frozen=True, slots=True)
class Run:
    """One run to be made: this setting in this draw, counted from 0."""

    draw: int
    arm: str

    @property
    def folder(self) -> str:
        """Where it is kept: draw-03/plain."""
        return f"draw-{self.draw + 1:02d}/{self.arm.replace(' ', '-')}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run gave.

    Attributes:
        value: of the objective; None if it has none, as when requests got no answer.
        excess: log(statistic / limit) of the SLO, 0 without one; infinite if it has no value.
    """

    value: float | None
    excess: float = 0.0


class Race:
    """Settings in the race, and what is known of them.

    Args:
        arms: their names.
        draws: how many there are at most.
        maximise: more is better.
        seed: of the order.
        drop: whether any may be dropped; without, every draw has them all.
    """

    def __init__(
        self,
        arms: Sequence[str],
        draws: int,
        *,
        maximise: bool = False,
        seed: int = 0,
        drop: bool = True,
    ) -> None:
        self.arms = tuple(arms)
        self.draws = draws
        self._sign = -1.0 if maximise else 1.0
        self._seed = seed
        self._drop = drop
        self._told: dict[Run, Measured] = {}
        self._out: dict[str, int] = {}
        self._why: dict[str, str] = {}
        self._looked = 0

    def ask(self) -> Run | None:
        """The next run; None when the race is over."""
        while not self.over:
            draw = self._looked
            for arm in self._order(draw):
                if Run(draw, arm) not in self._told:
                    return Run(draw, arm)
            self._looked += 1
            if self._drop and self._looked >= _FIRST_LOOK:
                self._look()
        return None

    def tell(self, run: Run, measured: Measured) -> None:
        """Take the result of a run."""
        self._told[run] = measured

    @property
    def alive(self) -> tuple[str, ...]:
        """The settings that were not dropped."""
        return tuple(arm for arm in self.arms if arm not in self._out)

    @property
    def dropped(self) -> Mapping[str, int]:
        """After how many draws a setting was dropped."""
        return self._out

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why a setting was dropped, in words."""
        return self._why

    @property
    def finished(self) -> int:
        """How many draws every setting then in the race has served."""
        return self._looked

    @property
    def over(self) -> bool:
        """Whether all draws are done or, where arms may be dropped, one is left or all left tie."""
        if self._looked >= self.draws:
            return True
        if not self._drop:
            return False
        if self._looked < _FIRST_LOOK:  # one that is alone from the start has to show itself too
            return len(self.alive) == 1 < len(self.arms)
        return len(self.alive) == 1 or self._all_tie()

    @property
    def leader(self) -> str | None:
        """The best of those left that seem to meet the SLO; None if nobody does."""
        able = [arm for arm in self.alive if self.mean_log(arm) is not None and self._meets(arm)]
        return min(able, key=lambda arm: self._sign * (self.mean_log(arm) or 0.0), default=None)

    def winner(self, simplicity: Callable[[str], object]) -> str | None:
        """The leader, or a simpler setting that is within 2 % of it; None if nobody leads."""
        leader = self.leader
        if leader is None:
            return None
        best = self.mean_log(leader) or 0.0
        near = [
            arm
            for arm in self.alive
            if self._meets(arm)
            and (mean := self.mean_log(arm)) is not None
            and self._sign * (mean - best) <= log1p(TIE)
        ]
        return min(near, key=simplicity)  # type: ignore[arg-type]  # any sort key

    def mean_log(self, arm: str) -> float | None:
        """The mean log of an arm's values; None if a draw gave none."""
        values = [measured.value for measured in self.of(arm)]
        if not values or any(value is None or value <= 0.0 for value in values):
            return None
        return sum(log(value) for value in values if value) / len(values)

    def typical(self, arm: str) -> float | None:
        """The geometric mean of an arm's values."""
        mean = self.mean_log(arm)
        return None if mean is None else exp(mean)

    def of(self, arm: str) -> list[Measured]:
        """What an arm was measured to do, draw by draw."""
        runs = [Run(draw, arm) for draw in range(self.draws)]
        return [self._told[run] for run in runs if run in self._told]

    def effect(self, arm: str, other: str, level: float) -> Effect | None:
        """The log ratio of one arm to another over the draws that both served."""
        pairs = [
            (self._told[mine].value, self._told[its].value)
            for draw in range(self._looked)
            if (mine := Run(draw, arm)) in self._told and (its := Run(draw, other)) in self._told
        ]
        logs = [log(mine / its) for mine, its in pairs if mine and its]
        return effect_of(logs, level) if len(logs) == len(pairs) >= 2 else None

    def _order(self, draw: int) -> Sequence[str]:
        arms = list(self.alive)
        np.random.default_rng((self._seed, draw // 2)).shuffle(arms)
        return list(reversed(arms)) if draw % 2 else arms

    def _meets(self, arm: str) -> bool:
        """Whether it meets the SLO, or misses it by what counts as a tie and by no certainty.

        What makes best use of an SLO lies at its edge, and there half of all races miss it by luck.
        """
        excess = [measured.excess for measured in self.of(arm)]
        mean = sum(excess) / max(1, len(excess))
        if mean <= 0.0 or not mean <= log1p(TIE):
            return bool(excess) and mean <= 0.0
        return len(excess) > 1 and effect_of(excess, ERROR).low <= 0.0

    def _look(self) -> None:
        """Drop who is surely worse than the leader, or surely misses the SLO."""
        leader = self.leader
        looks = max(1, self.draws - _FIRST_LOOK + 1)
        # effect_of is two-sided: half of its level is on the side that is asked about.
        level = 2.0 * ERROR / (max(1, len(self.arms) - 1) * looks)
        for arm in self.alive:
            if arm != leader and (why := self._loses(arm, leader, level)):
                self._out[arm], self._why[arm] = self._looked, why

    def _loses(self, arm: str, leader: str | None, level: float) -> str:
        """Why an arm is out; empty if it is not."""
        measured = self.of(arm)
        unable = sum(one.value is None for one in measured)
        if unable >= _UNABLE:
            return f"left requests unanswered in {unable} draws"
        excess = [one.excess for one in measured]
        if all(e < inf for e in excess) and effect_of(excess, level).low > 0.0:
            return "surely misses the SLO"
        if leader is None or not self._meets(arm):
            return ""
        effect = self.effect(arm, leader, level)
        if effect is None or self._sign * effect.log_ratio <= log1p(TIE):
            return ""  # near enough to win by being simpler
        worse = (effect.low if self._sign > 0 else -effect.high) > 0.0
        return f"surely worse than {leader}, x {effect.ratio:.2f} of its value" if worse else ""

    def _all_tie(self) -> bool:
        """Whether all that are left are within 2 % of the leader, and surely so."""
        leader = self.leader
        if leader is None:
            return False
        for arm in self.alive:
            if arm == leader:
                continue
            effect = self.effect(arm, leader, ERROR)
            if effect is None or max(-effect.low, effect.high) > log1p(TIE):
                return False
        return True
