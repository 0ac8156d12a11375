"""Settings that were re-evaluated, kept beside the trials so that none is simulated again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.settings import BatcherSettings
from bench.tuning.search.engines import read_setting
from bench.tuning.search.objectives import Objective, Score
from bench.tuning.search.sampler import METRICS
from bench.tuning.search.selection import Candidate
from bench.tuning.search.storage import open_study
from results.tuning.metrics import Metrics

if TYPE_CHECKING:
    import optuna

_CUT_OFF = "cut_off"


class CandidateStore:
    """A study whose trials are settings, each finished when it is added.

    Args:
        storage: where it is, or will be, kept.
        name: of the study.
        objective: for its direction.
        identity: what must be the same for its values to mean the same, the draws included.

    Raises:
        InputError: there is a study of that name that is of something else.
    """

    def __init__(
        self,
        storage: "optuna.storages.BaseStorage",
        name: str,
        objective: Objective,
        identity: Mapping[str, Any],
    ) -> None:
        self._study = open_study(storage, name, maximise=objective.maximise, identity=identity)
        self._known: dict[str, Candidate] = {}
        for trial in self._study.get_trials(deepcopy=False):
            attrs = trial.user_attrs
            value = trial.value
            assert value is not None  # noqa: S101 - for the type checker; each is added with one
            self._remember(
                Candidate(
                    read_setting(attrs["settings"]),
                    Score(value, attrs["violations"]),
                    tuple(attrs["per_draw"]),
                    Metrics.model_validate(attrs[METRICS]),
                )
            )

    def cut_off(self, trials: int) -> bool:
        """Whether time ran out while these were looked at, in a search of so many trials."""
        return bool(self._study.user_attrs.get(_CUT_OFF) == trials)

    def cut(self, trials: int) -> None:
        """Keep that time ran out, so that it is not gone on with when resumed.

        What was found by then has been raced, perhaps, and might not be what is found later.
        """
        self._study.set_user_attr(_CUT_OFF, trials)

    def get(self, settings: BatcherSettings) -> Candidate | None:
        """What was found of these settings; None if they were not looked at yet."""
        return self._known.get(settings.model_dump_json())

    def add(self, candidate: Candidate) -> None:
        """Keep what was found."""
        import optuna

        self._study.add_trial(
            optuna.create_trial(
                value=candidate.score.value,
                user_attrs={
                    "settings": candidate.settings.model_dump(mode="json"),
                    "violations": dict(candidate.score.violations),
                    "per_draw": list(candidate.per_draw),
                    METRICS: candidate.metrics.model_dump(mode="json"),
                },
            )
        )
        self._remember(candidate)

    def _remember(self, candidate: Candidate) -> None:
        self._known[candidate.settings.model_dump_json()] = candidate
