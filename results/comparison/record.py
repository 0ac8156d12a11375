"""A comparison on disk: comparison.json, beside the folders of its runs.

It is written anew after every run, so an interrupted comparison has lost at most the run that was
under way.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from results.comparison.observation import Observation, observe
from results.comparison.outcome import Draw, Outcome
from results.errors import RunCorruptError, RunNotFoundError, RunVersionError
from results.files import write_text
from results.run.analysis import analyse

SCHEMA_VERSION = 1
RECORD = "comparison.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArmRecord(_Part):
    """An arm: what it is in short, and its settings as TOML tables."""

    label: str
    settings: dict[str, Any] = Field(default_factory=dict)


class DrawRecord(_Part):
    """One draw: its arrivals, and per arm the run's folder and the values that are compared."""

    sha256: str | None
    runs: dict[str, str]
    values: dict[str, dict[str, float | None]]


class Detectable(_Part):
    """The smallest difference that a plan finds, said before it starts.

    `noise` is the standard deviation of the log ratio of a pair that is expected, `lower` and
    `higher` the differences as shares of the control, `power` the chance to find them.
    """

    noise: float
    lower: float
    higher: float
    power: float


class ComparisonRecord(_Part):
    """What comparison.json says.

    `sentences`, one a challenger, and `outcome` are of the draws that are finished; `state` is
    "running" while it runs, or if it ended without being able to say so.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    state: Literal["running", "interrupted", "finished"] = "running"
    standing: str = ""
    sentences: tuple[str, ...] = ()
    command: str = ""
    arms: dict[str, ArmRecord]
    metric: str
    exact: bool = False
    most_draws: int = 1
    margin: float
    seed: int | None = None
    load: dict[str, Any] = Field(default_factory=dict)
    trace: dict[str, Any] = Field(default_factory=dict)
    detectable: Detectable | None = None
    draws: tuple[DrawRecord, ...] = ()
    outcome: Outcome | None = None

    def as_json(self) -> str:
        """Return the record as indented JSON."""
        return self.model_dump_json(indent=2) + "\n"

    @property
    def labels(self) -> dict[str, str]:
        """What each arm is."""
        return {name: arm.label for name, arm in self.arms.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison as it is reported: its folder, its record, the observations of its draws."""

    path: Path
    record: ComparisonRecord
    draws: Sequence[Draw]

    @property
    def outcome(self) -> Outcome:
        """What it found."""
        if self.record.outcome is None:
            raise RunCorruptError(f"{self.path} has no outcome yet: no draw was finished")
        return self.record.outcome


def draw_record(observations: Mapping[str, Observation], runs: Mapping[str, str]) -> DrawRecord:
    """Return the record of one draw, perhaps not of all arms yet."""
    prints = {observation.sha256 for observation in observations.values()}
    return DrawRecord(
        sha256=prints.pop() if len(prints) == 1 else None,
        runs=dict(runs),
        values={arm: observation.values for arm, observation in observations.items()},
    )


def write_record(folder: Path, record: ComparisonRecord) -> None:
    """Write comparison.json, whole or not at all."""
    write_text(folder / RECORD, record.as_json())


def read_record(folder: Path) -> ComparisonRecord:
    """Read comparison.json.

    Raises:
        RunNotFoundError: There is no comparison in that folder.
        RunCorruptError: It is unreadable or not a comparison's record.
        RunVersionError: Another version of the format wrote it.
    """
    path = folder / RECORD
    if not path.is_file():
        raise RunNotFoundError(f"{folder} holds no comparison: it has no {RECORD}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise RunCorruptError(f"{path} cannot be read: {reason}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise RunVersionError(
            f"{path} must have schema_version {SCHEMA_VERSION}, but got {version!r}"
        )
    try:
        return ComparisonRecord.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise RunCorruptError(
            f"{path} is not a comparison's record: {where}: {fault['msg']}"
        ) from error


def read_comparison(folder: Path) -> Comparison:
    """Read a comparison with the runs of its finished draws.

    Raises:
        RunError: There is no comparison in that folder, or it or one of its runs cannot be read.
    """
    record = read_record(folder)
    draws = []
    for draw in record.draws:
        if set(draw.runs) == set(record.arms):
            # Runs that were recorded before are not below the folder.
            paths = {arm: folder / run for arm, run in draw.runs.items()}
            draws.append({
                arm: observe(analyse(path if path.is_dir() else Path(draw.runs[arm])))
                for arm, path in paths.items()
            })  # fmt: skip
    return Comparison(folder, record, draws)
