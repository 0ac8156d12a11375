"""What a reference run is made of: the full one for a GPU, a reduced one for a processor.

Steps are in the order of importance: where time runs out, the last ones stay behind.
"""

from dataclasses import dataclass

from tests.reference.budget import Cost

SLO = "p99<=50ms"
TRACES = ("poisson.json", "bursty.json")
LOADS = (0.5, 0.7, 0.9)
PARTS = {
    "environment": "hardware, driver, versions, clocks",
    "profile": "batch times of the main model in each engine",
    "saturation": "through the batcher against a bare loop, and what the device does meanwhile",
    "bench": "replays of poisson and bursty at three loads",
    "tune": f"a setting for the most load with {SLO} on bursty, in simulation",
    "capacity": "the highest load with that SLO, bisected on the device",
    "fidelity": "predicted against measured, with the spread of repeated replays",
    "models": "batch times of the other models",
    "tests": "the tests marked gpu",
}


@dataclass(frozen=True)
class Step:
    """One process's work.

    Attributes:
        part: what it belongs to.
        name: its own, unique.
        cost: its time.
        module: of `tests.reference`, whose `run` does it.
        options: handed to that.
    """

    part: str
    name: str
    cost: Cost
    module: str
    options: tuple[str, ...] = ()


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
        engines=("eager", "cudagraph", "compile"),
        others=(
            ("vit-b16", "fp16", "cudagraph"),
            ("bert-base", "fp16", "eager"),
            ("mlp", "fp16", "cudagraph"),
        ),
        batch_sizes=(32, 64, 128),
        profiled=128,
        window_s=8.0,
    )


def _profiles(plan, costs):
    return [
        Step("profile", f"profile {engine}", cost, "profiles", (plan.model, plan.dtype, engine))
        for engine, cost in zip(plan.engines, costs, strict=True)
    ]


def _others(plan, cost):
    return [
        Step("models", f"{model} {dtype} {engine}", cost, "profiles", (model, dtype, engine))
        for model, dtype, engine in plan.others
    ]


def _gpu_steps(plan):
    eager, graphs, compiled = _profiles(plan, [Cost(12, 8, 4), Cost(20, 24, 8), Cost(50, 6, 4)])
    return [
        Step("environment", "environment", Cost(8, 0, 0), "environment"),
        graphs,
        eager,
        Step("saturation", "saturation", Cost(25, 36, 12), "saturation"),
        Step("bench", "bench", Cost(25, 48, 24), "replays", ("bench",)),
        Step("tune", "tune", Cost(45, 0, 0), "tuning"),
        Step("capacity", "capacity", Cost(30, 150, 60), "capacity"),
        Step("fidelity", "fidelity", Cost(20, 48, 24), "replays", ("fidelity",)),
        *_others(plan, Cost(14, 5, 3)),
        Step("tests", "gpu tests", Cost(25, 40, 25), "gpu_tests"),
        compiled,
    ]


def _cpu_steps(plan):
    return [
        Step("environment", "environment", Cost(4, 0, 0), "environment"),
        *_profiles(plan, [Cost(5, 6, 3)]),
        Step("saturation", "saturation", Cost(5, 8, 4), "saturation"),
        Step("bench", "bench", Cost(6, 30, 12), "replays", ("bench",)),
        Step("tune", "tune", Cost(45, 0, 0), "tuning"),
        Step("capacity", "capacity", Cost(6, 75, 30), "capacity"),
        Step("fidelity", "fidelity", Cost(6, 30, 12), "replays", ("fidelity",)),
        *_others(plan, Cost(5, 4, 2)),
        Step("tests", "gpu tests", Cost(10, 5, 5), "gpu_tests"),
    ]
