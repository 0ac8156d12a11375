"""What a run needs before anything is sent: settings checked, model loaded, arrivals drawn.

Everything that can be wrong with the input is found here, before a file is written.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console

import workloads
from batching import Clock, DynamicBatcher, FaultTolerance, Model, Placement, load_model
from batching.core import BatchObserver
from batching.devices import reserve_batcher_core, resolve_placement
from batching.errors import BatchingError, describe
from batching.execution import Executor, make_executor
from batching.probe import Probe, probe
from bench.config import Settings
from bench.errors import RunFailedError
from bench.prediction import Known, Profiling, predict

# Several, so that no cache is flattered by one input; few, so that memory is no topic.
_PAYLOADS = 64
# Arrivals go on past the window's end by a tenth of it, so that its last requests are under load.
_TAIL_SHARE, _TAIL_MIN_S, _TAIL_MAX_S = 0.1, 0.25, 2.0


class Session:
    """A model made ready and the arrivals to be replayed against it.

    Args:
        settings: what the user asked for.
        clock: the time everything is measured on.
        console: where to say what is being done.
        profiling: predict the run first, with batch times from there.

    Raises:
        ConfigError, WorkloadError: something in the settings is not usable.
        RunFailedError: the model raised.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        console: Console,
        *,
        profiling: Profiling | Known | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.console = console
        self.probe: Probe | None = None
        self.torch_threads: int | None = None
        spec = self._read_trace()
        batcher = settings.batcher
        model = settings.model
        placements = [resolve_placement(d.strip(), model.dtype) for d in model.device.split(",")]
        self.model: Model = load_model(
            model.model,
            clock=clock,
            weights=model.weights,
            length_buckets=model.length_buckets,
        )
        self.placement = placements[0] if self.model.uses_torch else Placement("cpu", model.dtype)
        self.replicas = batcher.replicas or (len(placements) if self.model.uses_torch else 1)
        self.batcher(None)  # a knob out of range is found before anything is loaded
        self.executor: Executor = make_executor(self.model, self.placement, clock)
        self._load()
        self.profile = None if profiling is None else profiling.load(self)
        self.arrivals = self._resolve(spec)
        self.prediction = None if self.profile is None else predict(self, self.profile)
        self.payloads = self._payloads()

    def batcher(self, observer: BatchObserver | None) -> DynamicBatcher:
        """A batcher of the session's model with the settings' knobs, not started."""
        knobs = self.settings.batcher.model_dump(exclude={"replicas", "execute_timeout_ms"})
        return DynamicBatcher(
            self.model,
            **knobs,
            faults=FaultTolerance(execute_timeout_ms=self.settings.batcher.execute_timeout_ms),
            replicas=self.replicas,
            device=self.settings.model.device,
            dtype=self.settings.model.dtype,
            observer=observer,
            clock=self.clock,
        )

    @property
    def device(self) -> str:
        """The device as reports call it; a synthetic model runs on none."""
        return self.placement.device if self.model.uses_torch else "synthetic"

    @property
    def gpu_index(self) -> int | None:
        """The CUDA device's index; None where the model runs on no GPU."""
        if self.model.uses_torch and self.placement.is_cuda:
            return int(self.placement.device.partition(":")[2])
        return None

    def _load(self) -> None:
        where = "" if self.device == "synthetic" else f" on {self.device}"
        if self.device == "cpu":
            self.torch_threads = reserve_batcher_core()
            where += f" with {self.torch_threads} torch thread(s), one core left to the batcher"
        self.console.print(f"loading {self.model.name}{where}")
        with self._model_code("could not be loaded"):
            self.executor.prepare()

    def _read_trace(self) -> workloads.DescribedTrace | workloads.ListedTrace:
        replay = self.settings.replay
        spec = workloads.load(
            replay.trace,
            workloads.Reading(
                format=replay.trace_format,
                time_column=replay.time_column,
                time_unit=replay.time_unit,
                skip_bad=replay.skip_bad,
            ),
        )
        for note in getattr(spec, "notes", ()):
            self.console.print(f"{replay.trace}: {note}", markup=False, soft_wrap=True)
        return spec

    def _resolve(self, spec: Any) -> workloads.ResolvedTrace:
        replay = self.settings.replay
        duration_s = replay.duration
        if duration_s is None:
            duration_s = getattr(spec, "duration_s", None)
        tail_s = min(max((duration_s or 0.0) * _TAIL_SHARE, _TAIL_MIN_S), _TAIL_MAX_S)
        resolved = workloads.resolve(
            spec,
            rate_rps=replay.rate,
            utilization=replay.utilization,
            time_scale=replay.time_scale,
            duration_s=replay.duration,
            tail_s=tail_s,
            seed=replay.seed,
            match_load=replay.match_load,
            peak_rps=self._peak_rps,
            rate_by=replay.rate_by,
            loop=replay.loop,
        )
        factor = resolved.describe()["match_factor"]
        if factor is not None:
            self.console.print(
                f"load matched at {resolved.requests:,} requests: all times of the draw "
                f"x {factor:.4g}"
            )
        return resolved

    def _peak_rps(self) -> float:
        if self.profile is not None:
            peak_rps = self.profile.source.peak_rps
            self.console.print(f"peak {peak_rps:,.0f} req/s by the profile")
            return self.replicas * peak_rps
        self.console.print("probing how fast the model can go here")
        with self._model_code("raised while it was probed"):
            self.probe = probe(self.executor, self.clock)
        assert self.probe is not None  # noqa: S101 - for the type checker
        self.console.print(
            f"peak {self.probe.peak_rps:,.0f} req/s, at batch size {self.probe.peak_batch_size}"
            + (f", by {self.replicas} replicas" if self.replicas > 1 else "")
        )
        return self.replicas * self.probe.peak_rps

    def _payloads(self) -> list[Any]:
        rng = np.random.default_rng(self.arrivals.seed or 0)
        with self._model_code("raised while it made an input"):
            return [self.model.make_input(rng) for _ in range(_PAYLOADS)]

    @contextlib.contextmanager
    def _model_code(self, what: str) -> Iterator[None]:
        """It may be the user's code: anything may come, `sys.exit` too."""
        try:
            yield
        except BatchingError:
            raise
        except (Exception, SystemExit) as error:
            raise RunFailedError(f"{self.model.name} {what}: {describe(error)}") from error
