"""A model made ready to be measured: settings checked, loaded once for any number of runs."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from batching import Clock, DynamicBatcher, FaultTolerance, Model, Placement, load_model
from batching.errors import BatchingError
from batching.execution.choose import make_executor
from batching.execution.devices import require_one_kind, reserve_batcher_core, resolve_placements
from batching.execution.executor import Executor
from batching.execution.flops import FlopCount, count_flops
from batching.execution.probe import Probe, probe, probe_sizes, sustained_peak_rps
from batching.models.contract import is_channels_last
from batching.plugins import located
from batching.queueing.core import BatchObserver
from batching.workers.replicas import Copies
from bench.errors import InputError, RunFailedError
from bench.profiling.load import Loaded
from bench.settings import BatcherSettings, ModelSettings

# Several, so that no cache is flattered by one input; few, so that memory is no topic.
_PAYLOADS = 64


class Session:
    """A model, loaded once; a run of it is a `PlannedRun`.

    Args:
        model: which, where and how.
        knobs: of the batchers that it will serve, those of the first run first; all are checked
            before the model is loaded, and it is never run with more than the largest batch of all.
        clock: the time everything is measured on.
        console: where to say what is being done.
        warm_up_budget_s: for each batcher; None for its default.

    Attributes:
        probe: how fast the model was found to be, where a load asked for that.
        torch_threads: on the CPU; None elsewhere.

    Raises:
        ConfigError, InputError: something in the settings is not usable.
        RunFailedError: the model raised.
    """

    def __init__(
        self,
        model: ModelSettings,
        knobs: Sequence[BatcherSettings],
        clock: Clock,
        console: Console,
        *,
        warm_up_budget_s: float | None = None,
    ) -> None:
        self.settings = model
        self.clock = clock
        self.console = console
        self.warm_up_budget_s = warm_up_budget_s
        self.probe: Probe | None = None
        self.torch_threads: int | None = None
        self._sustained_rps: float | None = None
        self._flops: list[FlopCount | None] = []
        placements = resolve_placements(model.device, model.dtype, **model.how)
        require_one_kind(placements)
        self.model: Model = load_model(
            model.model,
            clock=clock,
            weights=model.weights,
            length_buckets=model.length_buckets,
        )
        unplaced = Placement("cpu", model.dtype, model.engine)
        self.placements = placements if self.model.uses_torch else [unplaced]
        self._copies = Copies(self.model)
        for one in knobs:
            self.batcher(one, None)  # one out of range is found before anything is loaded
        self._largest = max(one.max_batch_size for one in knobs)
        self.executor: Executor = make_executor(
            self.model, self.placement.for_batches(knobs[0].max_batch_size), clock
        )
        self._load()

    def batcher(self, knobs: BatcherSettings, observer: BatchObserver | None) -> DynamicBatcher:
        """A batcher of the model with these knobs, not started."""
        options = knobs.model_dump(exclude={"replicas", "execute_timeout_ms"})
        if self.warm_up_budget_s is not None:
            options["warm_up_budget_s"] = self.warm_up_budget_s
        model = self.settings
        return DynamicBatcher(
            self._copies,
            **options,
            faults=FaultTolerance(execute_timeout_ms=knobs.execute_timeout_ms),
            replicas=self.replicas(knobs),
            device=model.device,
            dtype=model.dtype,
            engine=model.engine,
            captured_batch_sizes=model.captured_batch_sizes,
            channels_last=model.channels_last,
            observer=observer,
            clock=self.clock,
        )

    def replicas(self, knobs: BatcherSettings) -> int:
        """How many copies of the model serve behind these knobs.

        Raises:
            InputError: fewer than there are devices.
        """
        devices = len(self.placements)
        if knobs.replicas is not None and knobs.replicas < devices:
            raise InputError(
                f"replicas must be at least 1 for each of the {devices} devices, "
                f"but got {knobs.replicas}"
            )
        return knobs.replicas or devices

    def replica_devices(self, knobs: BatcherSettings) -> list[str] | None:
        """The device of each replica; None where they are on none that they could share."""
        if not self.model.uses_torch:
            return None
        names = [placement.device for placement in self.placements]
        return [names[i % len(names)] for i in range(self.replicas(knobs))]

    def layout(self, knobs: BatcherSettings) -> dict[str, Any]:
        """What was decided for the model where the settings leave it open."""
        placement = self.placement.for_batches(knobs.max_batch_size)
        return {
            "captured_batch_sizes": list(placement.captured_sizes),
            "channels_last": is_channels_last(self.model, placement),
        }

    def payloads(self, seed: int) -> list[Any]:
        """Inputs to send, used in turn."""
        rng = np.random.default_rng(seed)
        with self._model_code("raised while it made an input"):
            return [self.model.make_input(rng) for _ in range(_PAYLOADS)]

    def peak_rps(self, knobs: BatcherSettings, loaded: Loaded | None) -> float:
        """What the model serves behind these knobs at most, requests per second.

        It is probed with batches of up to the largest of all knobs, once for all: the order of the
        arms of a comparison makes no difference to their load.

        Args:
            knobs: their replicas count.
            loaded: batch times, which say it as far as the batcher keeps up with the model here.

        Raises:
            RunFailedError: the model raised.
        """
        replicas = self.replicas(knobs)
        if loaded is not None:
            return replicas * self._profiled_peak_rps(loaded)
        if self.probe is None:
            self.console.print("probing how fast the model can go here")
            with self._model_code("raised while it was probed"):
                self.probe = probe(self.executor, self.clock, self._largest)
            self.console.print(
                f"peak {self.probe.peak_rps:,.0f} req/s, at batch size "
                f"{self.probe.peak_batch_size}"
                + (f", by {replicas} replicas" if replicas > 1 else "")
            )
        return replicas * self.probe.peak_rps

    def release_executor(self) -> None:
        """Let go of what the batchers make for themselves and want the memory for: their graphs."""
        if self.placement.engine == "cudagraph":
            self.executor.close()

    def flops(self, payloads: Sequence[Any]) -> FlopCount | None:
        """The work of a request, counted when it is first asked for; None if it cannot be."""
        if not self._flops:
            counted = count_flops(self.model, self.placement, payloads, self.clock)
            self._flops.append(counted)
        return self._flops[0]

    @property
    def placement(self) -> Placement:
        """The device, or the first of several: what is measured apart is measured there."""
        return self.placements[0]

    @property
    def device(self) -> str:
        """The device, or the devices, as reports call them; a synthetic model runs on none."""
        if not self.model.uses_torch:
            return "synthetic"
        return ",".join(placement.device for placement in self.placements)

    @property
    def gpu_index(self) -> int | None:
        """The CUDA device's index, or that of the first; None where the model runs on no GPU."""
        if self.model.uses_torch and self.placement.is_cuda:
            return int(self.placement.device.partition(":")[2])
        return None

    def _load(self) -> None:
        where = "" if self.device == "synthetic" else f" on {self.device}"
        if self.device == "cpu":
            self.torch_threads = reserve_batcher_core()
            where += f" with {self.torch_threads} torch thread(s), one core left to the batcher"
        if self.placement.engine != "eager":
            where += f", engine {self.placement.engine}"
        self.console.print(f"loading {self.model.name}{where}")
        with self._model_code("could not be loaded"):
            self.executor.prepare()

    def _profiled_peak_rps(self, loaded: Loaded) -> float:
        """Of one worker: the profile's, as far as the batcher keeps up with the model here."""
        if self._sustained_rps is None:
            by_profile, profile = loaded.source.peak_rps, loaded.profile
            best = probe_sizes(self._largest)[-1] if profile is None else profile.peak_batch_size
            with self._model_code("raised while it was probed"):
                self._sustained_rps = sustained_peak_rps(
                    self.executor, self.clock, by_profile, min(best, self._largest)
                )
            limited = self._sustained_rps < by_profile
            self.console.print(
                f"peak {self._sustained_rps:,.0f} req/s"
                + (f" as the batcher serves them, {by_profile:,.0f}" if limited else "")
                + " by the profile"
            )
        return self._sustained_rps

    @contextlib.contextmanager
    def _model_code(self, what: str) -> Iterator[None]:
        """It may be the user's code: anything may come, `sys.exit` too."""
        try:
            yield
        except BatchingError:
            raise
        except (Exception, SystemExit) as error:
            raise RunFailedError(f"{self.model.name} {what}: {located(error)}") from error
