"""Running one batch on a device, with a time stamp at each step."""

from collections.abc import Sequence
from math import isnan, nan
from typing import Any, Protocol

from batching.clock import Clock
from batching.errors import (
    BatchingError,
    ModelError,
    first_paragraph,
)
from batching.models.contract import (
    CallableModel,
    Model,
    Placement,
    sample_payloads,
)
from batching.models.results import checked_results
from batching.request import BatchRecord

# The batch size is left open when a model is compiled, but one of 1 is always a case of its own.
_COMPILED_SIZES = (8, 1)


class Executor(Protocol):
    """Runs batches of one model on one device, in steps, so that two batches may overlap.

    One thread uses an executor. The executors of one worker are each other's siblings: they share
    the device, and `launch` is called by one of their threads at a time.

    Attributes:
        load_s: how long it took to load the model; nan before `prepare`.
        engine_s: how long capturing or compiling took; None where there was nothing to make.
        engine_bytes: device memory that capturing took; None where nothing was captured.
        uncaptured: batches so far that had to go without a graph, though there are some.
        first_execution_s: how long the very first `execute` took; nan before it.
    """

    model: Model
    placement: Placement
    load_s: float
    engine_s: float | None
    engine_bytes: int | None
    uncaptured: int
    first_execution_s: float

    def prepare(self) -> None:
        """Load the model and make its engine ready; free if that is done."""
        ...

    def sibling(self) -> "Executor":
        """Another executor of the same model for the same worker."""
        ...

    def stage(self, payloads: Sequence[Any], batch: BatchRecord) -> Any:
        """Collate a batch and get its inputs under way to the device."""
        ...

    def launch(self, staged: Any, batch: BatchRecord) -> Any:
        """Start the staged batch behind what its siblings have started."""
        ...

    def finish(self, running: Any, batch: BatchRecord) -> Any:
        """Wait for the end of what `launch` started; the outputs, on the host.

        `completed_s` is set by then, and `started_s` moved on if a sibling's batch ended later.
        """
        ...

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """One result for each of `count` requests, in order, whole and checked."""
        ...

    def execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        """All steps at once; sets the time stamps of `batch`."""
        ...

    def close(self) -> None:
        """Give back graphs and buffers; `prepare` would make them anew."""
        ...


class Steps:
    """What executors share: being loaded once, stamping, remembering the first times."""

    def __init__(self, model: Model, placement: Placement, clock: Clock) -> None:
        self.model = model
        self.placement = placement
        self.load_s = nan
        self.engine_s: float | None = None
        self.engine_bytes: int | None = None
        self.uncaptured = 0
        self.first_execution_s = nan
        self._clock = clock
        self._of_function = isinstance(model, CallableModel)
        self._now = clock.now
        self._staging: Any = None
        self._prepared = False

    def prepare(self) -> None:
        """Load the model and make its engine ready; free if that is done."""
        if self._prepared:
            return
        began_s = self._now()
        self._load()
        loaded_s = self._now()
        if isnan(self.load_s):
            self.load_s = loaded_s - began_s
        if self._make_engine():
            self.engine_s = self._now() - loaded_s
        self._prepared = True

    def execute(self, payloads: Sequence[Any], batch: BatchRecord) -> Sequence[Any]:
        """Stage, launch, finish, split; stamps `staged_s`, `started_s`, `completed_s`."""
        self.prepare()
        began_s = self._now()
        staged = self.stage(payloads, batch)
        batch.staged_s = batch.started_s = self._now()
        outputs = self.finish(self.launch(staged, batch), batch)
        results = self.split(outputs, batch.size)
        if isnan(self.first_execution_s):
            self.first_execution_s = self._now() - began_s
        return results

    def stage(self, payloads: Sequence[Any], batch: BatchRecord) -> Any:
        """Collate and count elements."""
        collated = self.model.collate(payloads, self._staging)
        if collated.real_elements is not None:
            batch.real_elements = float(collated.real_elements)
        if collated.padded_elements is not None:
            batch.padded_elements = float(collated.padded_elements)
        return collated.inputs

    def launch(self, staged: Any, batch: BatchRecord) -> Any:
        """Start it."""
        raise NotImplementedError

    def finish(self, running: Any, batch: BatchRecord) -> Any:
        """Wait for its end."""
        raise NotImplementedError

    def split(self, outputs: Any, count: int) -> Sequence[Any]:
        """One result for each of `count` requests, checked as a whole.

        Raises:
            WrongOutputCountError: the model did not return that; see `checked_results`.
        """
        results = self.model.split(outputs, count)
        return checked_results(results, count, of_function=self._of_function)

    def close(self) -> None:
        """Let go of the staging buffers."""
        self._staging = None
        self._prepared = False

    def _load(self) -> None:
        raise NotImplementedError

    def _make_engine(self) -> bool:
        """Compile where that is asked for; whether there was anything to make."""
        if self.placement.engine != "compile":
            return False
        for payload in sample_payloads(self.model):
            for size in _COMPILED_SIZES:
                batch = BatchRecord(size=size)
                staged = self.stage([payload] * size, batch)
                try:
                    self.finish(self.launch(staged, batch), batch)
                except BatchingError:
                    raise
                except Exception as error:
                    raise ModelError(
                        f"engine compile must be able to compile {self.model.name} here, "
                        f"but got {first_paragraph(error)}"
                    ) from error
        return True


class HostExecutor(Steps):
    """Executes on the host: CPU models, plain functions, synthetic models."""

    def sibling(self) -> "HostExecutor":
        """Another executor of the same model."""
        return HostExecutor(self.model, self.placement, self._clock)

    def launch(self, staged: Any, batch: BatchRecord) -> Any:
        """Run the model in this thread, to its end."""
        outputs = self.model.run(staged)
        batch.completed_s = self._now()
        return outputs

    def finish(self, running: Any, batch: BatchRecord) -> Any:
        """It has ended."""
        return running

    def _load(self) -> None:
        """Load the model, leaving a core to the batcher."""
        if self.model.uses_torch:
            from batching.execution.devices import reserve_batcher_core
            from batching.execution.staging import HostStaging

            reserve_batcher_core()
            self._staging = HostStaging()
        self.model.prepare(self.placement)
