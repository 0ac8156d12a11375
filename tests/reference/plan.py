"""What a reference run is made of: the full one for a GPU, a reduced one for a processor.

Steps are in the order of importance: where time runs out, the last ones stay behind. The sizes of
the first call add up to what nine minutes hold, those of the second to what is over in under two.
"""

from dataclasses import dataclass

from tests.reference.budget import Cost

SLO = "p99<=50ms"
TRACES = ("bursty.json", "poisson.json")
# Shares of the profile's capacity: those of the first call, and those of the second.
LOADS, LATER_LOADS = (0.7, 0.9), (0.5,)
PARTS = {
    "sanity": "hardware, driver, versions; copy speed; the engine's results against eager's",
    "profile": "batch times of the main model in each engine",
    "saturation": "through the batcher, of what the device alone could do, and of a bare loop",
    "tests": "the tests marked gpu",
    "tune": f"a setting for the most load with {SLO} on bursty, in simulation",
    "bench": "replays of bursty and poisson at several loads, each predicted before",
    "capacity": "the highest load with that SLO, bisected on the device",
    "fidelity": "predicted against measured, with the spread of repeated replays",
    "trace": "what the device does in one steady second",
    "models": "batch times of the other models",
}
# Runs first; where it fails only the tests are run after it.
GATE, AFTER_A_FAILED_GATE = "sanity", "tests"


@dataclass(frozen=True)
class Step:
    """One process's work.

    Attributes:
        part: what it belongs to.
        name: its own, unique.
        cost: its time.
        module: of `tests.reference`, whose `run` does it.
        options: handed to that.
        call: 1 or 2: those of the second get the time that those of the first leave.
        beside: steps that follow each other with the same name here run at the same time.
    """

    part: str
    name: str
    cost: Cost
    module: str
    options: tuple = ()
    call: int = 1
    beside: str = ""


@dataclass(frozen=True)
class Plan:
    """What is measured on one kind of device.

    Attributes:
        device: "cuda" or "cpu".
        model, dtype: of every part but `models`.
        engines: those that the main model is profiled in.
        others: (model, dtype, engine) of the part `models`.
        batch_sizes: of the part `saturation`.
        profiled: the largest batch of a profile.
        window_s: a replay's measured window, as long as is useful.
        timeout_ms: of the replays whose setting was not searched.
    """

    device: str
    model: str
    dtype: str
    engines: tuple[str, ...]
    others: tuple[tuple[str, str, str], ...]
    batch_sizes: tuple[int, ...]
    profiled: int
    window_s: float
    timeout_ms: float = 2.0

    @property
    def on_gpu(self):
        return self.device != "cpu"

    def model_settings(self, engine, model=None, dtype=None):
        """The keys of `[model]`."""
        return {
            "model": model or self.model,
            "device": self.device,
            "dtype": dtype or self.dtype,
            "engine": engine,
        }

    def steps(self):
        """Every step, the most important first."""
        made = _gpu_steps if self.on_gpu else _cpu_steps
        return made(self)


def plan_for(device):
    """The plan for "cuda", "cuda:<index>" or "cpu"."""
    if device == "cpu":
        return Plan(
            device,
            model="mlp",
            dtype="fp32",
            engines=("eager",),
            others=(("mlp", "bf16", "eager"),),
            batch_sizes=(8, 32),
            profiled=64,
            window_s=4.0,
        )
    return Plan(
        device,
        model="resnet50",
        dtype="fp16",
        engines=("cudagraph", "eager", "compile"),
        others=(
            ("vit-b16", "fp16", "cudagraph"),
            ("mlp", "fp16", "cudagraph"),
            ("bert-base", "fp16", "eager"),
        ),
        batch_sizes=(32, 64, 128),
        profiled=128,
        window_s=8.0,
    )


def _profile(plan, engine, cost, call=1):
    options = (plan.model, plan.dtype, engine)
    return Step("profile", f"profile {engine}", cost, "profiles", options, call)


def _other(plan, index, cost, call=1):
    options = plan.others[index]
    return Step("models", " ".join(options), cost, "profiles", options, call)


def _gpu_steps(plan):
    return [
        Step("sanity", "sanity", Cost(32, 8, 4), "sanity"),
        _profile(plan, "cudagraph", Cost(17, 16, 8)),
        _profile(plan, "eager", Cost(11, 7, 4)),
        Step("saturation", "saturation", Cost(13, 26, 10), "saturation"),
        Step("tests", "gpu tests", Cost(20, 80, 30), "gpu_tests", beside="tests"),
        Step("tune", "tune", Cost(20, 80, 30), "tuning", beside="tests"),
        Step("bench", "bench", Cost(12, 42, 20), "replays", ("bench", LOADS)),
        Step("capacity", "capacity", Cost(17, 128, 50), "capacity"),
        Step("fidelity", "fidelity", Cost(12, 42, 20), "replays", ("fidelity", LOADS)),
        Step("trace", "trace", Cost(10, 2, 2), "tracing"),
        _other(plan, 0, Cost(11, 4, 3)),
        _other(plan, 1, Cost(9, 4, 3)),
        _profile(plan, "compile", Cost(38, 5, 4), call=2),
        Step("bench", "bench 0.5", Cost(12, 20, 10), "replays", ("bench", LATER_LOADS), 2),
        _other(plan, 2, Cost(14, 5, 3), call=2),
    ]


def _cpu_steps(plan):
    """Without the tests marked gpu, which would all skip, and without a device to trace."""
    return [
        Step("sanity", "sanity", Cost(15, 1, 1), "sanity"),
        _profile(plan, "eager", Cost(8, 6, 3)),
        Step("saturation", "saturation", Cost(6, 8, 4), "saturation"),
        Step("tune", "tune", Cost(6, 60, 8), "tuning"),
        Step("bench", "bench", Cost(6, 26, 8), "replays", ("bench", LOADS)),
        Step("capacity", "capacity", Cost(8, 80, 16), "capacity"),
        Step("fidelity", "fidelity", Cost(6, 26, 8), "replays", ("fidelity", LOADS)),
        _other(plan, 0, Cost(8, 4, 2)),
        Step("bench", "bench 0.5", Cost(6, 13, 4), "replays", ("bench", LATER_LOADS), 2),
    ]
