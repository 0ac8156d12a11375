"""What a run needs before anything is sent: settings checked, model loaded, arrivals drawn.

Everything that can be wrong with the input is found here, before a file is written.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

import workloads
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
from bench.live.early_stop import LONGEST_S, planned
from bench.live.prediction import (
    Known,
    Prediction,
    Profiling,
    predict,
)
from bench.profiling.load import Loaded
from bench.settings import Settings
from bench.traces.source import load_replayed

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
        also: settings with other knobs that it will serve with too, checked before the model is
            loaded; see `serving`.

    Attributes:
        arrivals: what is sent; with --until-decided as many as may be needed.
        looks_s: when the run is looked at, seconds of the window; empty without --until-decided.
        warm_up_budget_s: for each batcher; None for its default.

    Raises:
        ConfigError, WorkloadError, InputError: something in the settings is not usable.
        RunFailedError: the model raised.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        console: Console,
        *,
        profiling: Profiling | Known | None = None,
        also: Sequence[Settings] = (),
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.console = console
        self.probe: Probe | None = None
        self._sustained_rps: float | None = None
        self.torch_threads: int | None = None
        self.warm_up_budget_s: float | None = None
        self._spec = load_replayed(settings.replay, console)
        model = settings.model
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
        self._flops: list[FlopCount | None] = []
        self.replicas = self._replicas(settings)
        self.batcher(None)  # a knob out of range is found before anything is loaded
        for other in also:
            self.serving(other).batcher(None)
        self._largest = max(one.batcher.max_batch_size for one in (settings, *also))
        self.executor: Executor = make_executor(
            self.model, self.placement.for_batches(settings.batcher.max_batch_size), clock
        )
        self._load()
        self.profile = None
        if profiling is not None:
            self.profile = profiling.load(
                self.model,
                self.placement,
                device=self.device,
                largest=settings.batcher.max_batch_size,
                clock=clock,
                console=console,
            )
        self.looks_s: tuple[float, ...] = ()
        self.arrivals = self._resolve()
        self._predicted: Prediction | None = None
        self._predicted = self.predict(self.arrivals)
        self.payloads = self._payloads()
        if self.placement.engine == "cudagraph":
            self.executor.close()  # every batcher captures its own, which want the memory

    def batcher(self, observer: BatchObserver | None) -> DynamicBatcher:
        """A batcher of the session's model with the settings' knobs, not started."""
        knobs = self.settings.batcher.model_dump(exclude={"replicas", "execute_timeout_ms"})
        if self.warm_up_budget_s is not None:
            knobs["warm_up_budget_s"] = self.warm_up_budget_s
        return DynamicBatcher(
            self._copies,
            **knobs,
            faults=FaultTolerance(execute_timeout_ms=self.settings.batcher.execute_timeout_ms),
            replicas=self.replicas,
            device=self.settings.model.device,
            dtype=self.settings.model.dtype,
            engine=self.settings.model.engine,
            captured_batch_sizes=self.settings.model.captured_batch_sizes,
            channels_last=self.settings.model.channels_last,
            observer=observer,
            clock=self.clock,
        )

    def predict(self, arrivals: workloads.ResolvedTrace) -> Prediction | None:
        """What a simulation says of these arrivals; None where no prediction was asked for.

        Of all arrivals it is worked out before they are replayed; a run that ended once it was
        decided is predicted over what it came to.
        """
        if self.profile is None:
            return None
        if self._predicted is not None and arrivals is self.arrivals:
            return self._predicted
        return predict(self.settings.batcher, self.replicas, self.profile, arrivals)

    def serving(
        self, settings: Settings, arrivals: workloads.ResolvedTrace | None = None
    ) -> "Session":
        """This model, loaded once, behind other knobs and under other arrivals.

        Args:
            settings: as those of this session but for the batcher's.
            arrivals: what is replayed; this session's own if not given.
        """
        other = copy.copy(self)
        other.settings = settings
        other.replicas = self._replicas(settings)
        other._predicted = None  # noqa: SLF001 - its own: that prediction was of these knobs
        if arrivals is not None:
            other.arrivals = arrivals
        return other

    def draws(self, count: int) -> list[workloads.ResolvedTrace]:
        """Several draws of the trace, all at the load that was resolved for this session.

        Raises:
            WorkloadError: the trace cannot be drawn that often, or not at that length.
        """
        load = self.arrivals
        options = {
            **self._options(self.settings.replay.duration),
            "rate_rps": load.rate_rps,
            "utilization": None,
        }
        return [
            replace(draw, utilization=load.utilization, peak_rps=load.peak_rps)
            for draw in workloads.resolve_draws(self._spec, count, **options)
        ]

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
    def layout(self) -> dict[str, Any]:
        """What was decided for the model where the settings leave it open."""
        settings = self.settings
        placement = self.placement.for_batches(settings.batcher.max_batch_size)
        return {
            "captured_batch_sizes": list(placement.captured_sizes),
            "channels_last": is_channels_last(self.model, placement),
        }

    @property
    def gpu_index(self) -> int | None:
        """The CUDA device's index, or that of the first; None where the model runs on no GPU."""
        if self.model.uses_torch and self.placement.is_cuda:
            return int(self.placement.device.partition(":")[2])
        return None

    @property
    def replica_devices(self) -> list[str] | None:
        """The device of each replica; None where they are on none that they could share."""
        if not self.model.uses_torch:
            return None
        names = [placement.device for placement in self.placements]
        return [names[i % len(names)] for i in range(self.replicas)]

    def flops(self) -> FlopCount | None:
        """The work of a request, counted when it is first asked for; None if it cannot be."""
        if not self._flops:
            counted = count_flops(self.model, self.placement, self.payloads, self.clock)
            self._flops.append(counted)
        return self._flops[0]

    def _replicas(self, settings: Settings) -> int:
        devices = len(self.placements)
        asked = settings.batcher.replicas
        if asked is not None and asked < devices:
            raise InputError(
                f"replicas must be at least 1 for each of the {devices} devices, but got {asked}"
            )
        return asked or devices

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

    def _resolve(self) -> workloads.ResolvedTrace:
        """The arrivals; with --until-decided as many as may be needed, and when it is looked."""
        if not self.settings.slo.until_decided:
            return self._arrivals(self.settings.replay.duration)
        duration_s = self._length_s(self.settings.replay.duration)
        if duration_s is None:
            raise InputError(
                "until_decided must have a --duration to start with, shorter than the recording, "
                "but has none"
            )
        longest_s = self.settings.slo.max_duration or max(LONGEST_S, duration_s)
        if isinstance(self._spec, workloads.ListedTrace):
            # A recording goes on as far as it has arrivals.
            longest_s = min(longest_s, self._arrivals(None).window_s)
        if longest_s <= duration_s:
            raise InputError(
                f"until_decided must have more than the duration of {duration_s:g} s to go on to, "
                f"but has {longest_s:.6g} s"
            )
        self.looks_s = planned(duration_s, longest_s)
        return self._arrivals(longest_s)

    def _length_s(self, asked_s: float | None) -> float | None:
        """The window asked for, or else that of the trace file; None for all of a recording."""
        return getattr(self._spec, "duration_s", None) if asked_s is None else asked_s

    def _arrivals(self, asked_s: float | None) -> workloads.ResolvedTrace:
        resolved = workloads.resolve(self._spec, peak_rps=self._peak_rps, **self._options(asked_s))
        factor = resolved.describe()["match_factor"]
        if factor is not None:
            self.console.print(
                f"load matched at {resolved.requests:,} requests: all times of the draw "
                f"x {factor:.4g}"
            )
        return resolved

    def _options(self, asked_s: float | None) -> dict[str, Any]:
        """What the settings ask of the trace, as `workloads.resolve` takes it."""
        replay = self.settings.replay
        duration_s = self._length_s(asked_s)
        tail_s = min(max((duration_s or 0.0) * _TAIL_SHARE, _TAIL_MIN_S), _TAIL_MAX_S)
        return {
            "rate_rps": replay.rate,
            "utilization": replay.utilization,
            "time_scale": replay.time_scale,
            "duration_s": asked_s,
            "tail_s": tail_s,
            "seed": replay.seed,
            "match_load": replay.match_load,
            "rate_by": replay.rate_by,
            "loop": replay.loop,
        }

    def _peak_rps(self) -> float:
        if self.profile is not None:
            return self.replicas * self._profiled_peak_rps(self.profile)
        if self.probe is not None:
            return self.replicas * self.probe.peak_rps
        self.console.print("probing how fast the model can go here")
        with self._model_code("raised while it was probed"):
            self.probe = probe(self.executor, self.clock, self._largest)
        assert self.probe is not None  # noqa: S101 - for the type checker
        self.console.print(
            f"peak {self.probe.peak_rps:,.0f} req/s, at batch size {self.probe.peak_batch_size}"
            + (f", by {self.replicas} replicas" if self.replicas > 1 else "")
        )
        return self.replicas * self.probe.peak_rps

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
            raise RunFailedError(f"{self.model.name} {what}: {located(error)}") from error
