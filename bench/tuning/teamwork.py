"""One search by several workers: each in a process of its own, with a tuner of its own."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.tuning.search.objectives import Objective, Score
from bench.tuning.search.sampler import (
    PATIENCE,
    TRIALS,
    Proposal,
    Tuner,
)
from bench.tuning.search.space import Knobs, Space
from bench.tuning.sharing import POLL_S, WORKER, Pulse, Team, this_worker

if TYPE_CHECKING:
    import optuna

# The attribute of a study with the settings that it begins with, put down once they are queued.
FIRST = "first"
Evaluate = Callable[[Knobs], tuple[Score, Mapping[str, Any]]]
# So many workers may be lost with the same setting before it is left alone.
_MOST_LOST = 3


class SharedTuner(Tuner):
    """A tuner that shares the trials of its study with others.

    No trial and no setting is given to two workers, and no more trials are begun than there are to
    be, whoever finishes them. The trial of a worker that is lost is failed and its setting put back
    into the queue.

    Args:
        study, space, objective, trials, patience, seed, first, polish: see `Tuner`; the same for
            all.
        team: those who share it.
    """

    def __init__(
        self,
        study: "optuna.Study",
        space: Space,
        objective: Objective,
        team: Team,
        *,
        trials: int = TRIALS,
        patience: int = PATIENCE,
        seed: int = 0,
        first: Sequence[Knobs] = (),
        polish: bool = False,
    ) -> None:
        self._team = team
        self._mine: dict[int, Knobs] = {}
        self._others: dict[int, Knobs] = {}
        self._told = 0
        with team.turn():
            super().__init__(
                study,
                space,
                objective,
                trials=trials,
                patience=patience,
                seed=seed,
                first=first,
                polish=polish,
            )

    def ask(self) -> Proposal | None:
        """The next setting to try; None once the search is over, or while others have the rest."""
        with self._team.turn():
            self._take_stock()
            begun = len(self._finished) + len(self._mine) + len(self._others)
            if begun >= min(self._most, self._space.size):
                return None
            proposal = super().ask()
            if proposal is not None:
                self._mine[proposal.number] = proposal.knobs
                trial = self._asked[proposal.number]
                trial.set_user_attr("knobs", proposal.knobs)
                trial.set_user_attr(WORKER, this_worker())
            return proposal

    def tell(self, proposal: Proposal, score: Score, facts: Mapping[str, Any]) -> None:
        """Take the score of a proposal.

        It does not count if others have taken this worker for lost in the meantime: the setting is
        in the queue again, or with somebody else.
        """
        with self._team.turn():
            del self._mine[proposal.number]
            if not self._is_running(proposal.number):
                del self._asked[proposal.number]
                return
            super().tell(proposal, score, facts)
            self._told += 1

    @contextlib.contextmanager
    def in_hand(self, proposal: Proposal) -> Iterator[None]:
        """Shows others that its worker is still there; given back at once if it is interrupted."""
        trial = self._asked[proposal.number]
        with Pulse(lambda worker: trial.set_user_attr(WORKER, worker), self._team.pulse_s):
            try:
                yield
            except KeyboardInterrupt:
                self._give_back(proposal)
                raise

    @property
    def others(self) -> int:
        """How many trials other workers had in hand when a proposal was last asked for."""
        return len(self._others)

    @property
    def told(self) -> int:
        """How many of the finished trials are this worker's."""
        return self._told

    def _give_back(self, proposal: Proposal) -> None:
        with self._team.turn():
            del self._mine[proposal.number], self._asked[proposal.number]
            if self._is_running(proposal.number):
                self._requeue(proposal.number, proposal.knobs, lost=0)

    def _take_stock(self) -> None:
        """See what the others have finished and have in hand, and requeue what was lost."""
        self._others = {}
        for trial in self._running():
            if trial.number in self._mine:
                continue
            worker = trial.user_attrs.get(WORKER)
            if self._team.observer.is_lost((self._study.study_name, trial.number), worker):
                knobs = trial.system_attrs.get("fixed_params", trial.params)
                self._requeue(trial.number, knobs, lost=trial.user_attrs.get("lost", 0) + 1)
            else:
                self._others[trial.number] = trial.user_attrs.get("knobs", {})
        self.reload({**self._mine, **self._others})

    def _requeue(self, number: int, knobs: Knobs, *, lost: int) -> None:
        """Fail a trial that nobody runs any more, and put its setting back into the queue."""
        from optuna.trial import TrialState

        self._study.tell(number, state=TrialState.FAIL)
        if knobs and lost < _MOST_LOST:
            self._study.enqueue_trial(dict(knobs), user_attrs={"lost": lost})
            self._trials = self._most  # where all had been tried, there is one again

    def _running(self) -> "list[optuna.trial.FrozenTrial]":
        from optuna.trial import TrialState

        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _is_running(self, number: int) -> bool:
        return any(trial.number == number for trial in self._running())


def work(
    tuner: Tuner,
    evaluate: Evaluate,
    *,
    watch: Callable[[], None] = lambda: None,
    is_late: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Evaluate what a tuner proposes until the search is over, for all who take part in it.

    Args:
        tuner: proposes and is told.
        evaluate: what a setting scores, and facts about it to be kept.
        watch: told of each trial that was finished here.
        is_late: whether to end it before it is over.
        pause: waits for so many seconds, while others have the last trials in hand.

    Returns:
        Whether it is over, and did not end because it was late.
    """
    while not is_late():
        proposal = tuner.ask()
        shared = tuner if isinstance(tuner, SharedTuner) else None
        if proposal is None:
            if shared is None or not shared.others:
                return True
            pause(POLL_S)
            continue
        with contextlib.nullcontext() if shared is None else shared.in_hand(proposal):
            score, facts = evaluate(proposal.knobs)
        tuner.tell(proposal, score, facts)
        watch()
    return False
