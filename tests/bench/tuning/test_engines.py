"""A tuning that also searches which engine runs the model, each with batch times of its own."""

import json
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
from rich.console import Console

from batching import VirtualClock
from batching.execution.warm_up import ColdStart
from batching.profiles import ServiceProfile, Subject, save_profile
from bench.errors import InputError
from bench.profiling.service_times import ProfileSource
from bench.settings import (
    BatcherSettings,
    ModelSettings,
    ReplaySettings,
    Settings,
)
from bench.tuning.budget import overhead_s
from bench.tuning.device.metric import DeviceMetric
from bench.tuning.device.verification import Verification, ran_with
from bench.tuning.profiles import load_engines
from bench.tuning.record import record_of
from bench.tuning.request import Question, read_current
from bench.tuning.search.engines import (
    Engine,
    EngineSources,
    Setting,
    engines_among,
    implied_by,
    read_setting,
    setting_of,
    setup_of,
    with_setting,
)
from bench.tuning.search.objectives import Latency, Statistic
from bench.tuning.search.selection import best_by_engine, simplicity
from bench.tuning.search.space import make_space, parse_search
from bench.tuning.simulated.search import SimulatedSearch
from bench.tuning.tune import Request, carry_out, read_request
from results.tuning.conclusion import conclusion
from results.tuning.figures.surface import panels_of
from results.tuning.record import read_tuning
from results.tuning.wording import engines_table
from tests.bench.stand_in import StandIn
from tests.bench.tuning.tuned import MS, QUICK, traffic

pytestmark = pytest.mark.long

QUIET = Console(quiet=True)
EAGER, GRAPH, FEW = Engine("eager"), Engine("cudagraph"), Engine("cudagraph", (8, 32))


def roof(least_ms, each_ms):
    """T(b) where launching takes `least_ms`, however little there is to compute."""
    return lambda size: max(least_ms, each_ms * size) * MS


TIMES = {EAGER: roof(6.0, 0.25), GRAPH: roof(1.5, 0.25)}


def profiled(engine, time_s=None, *, largest=64, model="resnet50", device_name="a GPU"):
    subject = Subject(
        model, "cuda:0", device_name, "fp16", engine.name, captured_batch_sizes=engine.captured
    )
    made = ServiceProfile.exact(time_s or TIMES[engine], largest, subject)
    captured = {"engine_s": 2.0, "engine_bytes": 300_000_000} if engine.captured else {}
    return replace(made, cold_start=ColdStart(load_s=1.0, warm_up_s=0.5, **captured))


def sources():
    return EngineSources({engine: ProfileSource(profiled(engine)) for engine in TIMES})


def question(**asked):
    base = setting_of(BatcherSettings(), EAGER)
    search = ("engine=eager,cudagraph",)
    return Question(**{"base": base, "search": search, "trials": 60, "patience": 30, **asked})


def searched(source=None, **asked):
    source = source or sources()
    storage = optuna.storages.InMemoryStorage()
    arrivals = traffic(source, utilization=0.5)
    return SimulatedSearch(question(**asked), source, arrivals, storage, "test", effort=QUICK).run()


class TestEngines:
    @pytest.mark.parametrize(
        ("search", "model", "expected"),
        [
            ((), {}, (EAGER,)),
            (("engine=eager,cudagraph",), {}, (EAGER, GRAPH)),
            (("engine=cudagraph,compile",), {}, (GRAPH, Engine("compile"))),
            # What is there today is compared with, though it is not searched.
            (("engine=cudagraph",), {"engine": "eager"}, (EAGER, GRAPH)),
            (("engine=eager,cudagraph",), {"engine": "cudagraph"}, (GRAPH, EAGER)),
            (("engine=eager,cudagraph",), {"captured_batch_sizes": (32, 8)}, (EAGER, FEW)),
            (
                ("engine=eager,cudagraph", "captured_batch_sizes=default,32+8"),
                {},
                (EAGER, GRAPH, FEW),
            ),
            (
                ("captured_batch_sizes=default,8+32",),
                {"engine": "cudagraph", "captured_batch_sizes": (8, 32)},
                (FEW, GRAPH),
            ),
        ],
    )
    def test_those_whose_times_are_needed_begin_with_the_one_of_today(
        self, search, model, expected
    ):
        ranges = {name: its.values for name, its in parse_search(search).items()}
        assert engines_among(ranges, ModelSettings(**model), None) == expected

    def test_that_of_the_current_setting_is_among_them(self):
        current = setting_of(BatcherSettings(), FEW)
        assert engines_among({}, ModelSettings(), current) == (EAGER, FEW)

    @pytest.mark.parametrize(
        ("search", "said"),
        [
            ("engine=eager,tensorrt", "must be one of eager, cudagraph, compile, but got"),
            ("engine=1:2", "must be one of eager"),
            ("captured_batch_sizes=8+x", r"must be sizes as 8\+16\+32, or default, but got '8\+x'"),
            ("captured_batch_sizes=0+8", "must be sizes as"),
            ("captured_batch_sizes=", "must have values, but got none"),
        ],
    )
    def test_a_value_that_is_none_is_refused(self, search, said):
        with pytest.raises(InputError, match=said):
            parse_search((search,))

    def test_sizes_that_no_engine_captures_are_refused(self):
        settings = Settings(model=ModelSettings(model="mlp"))
        asked = Request(settings=settings, search=("captured_batch_sizes=8+16",))
        with pytest.raises(InputError, match="must be with engine cudagraph, but got eager"):
            asked.question()

    def test_sizes_are_forgotten_for_an_engine_that_captures_none(self):
        space = make_space(
            ("engine=eager,cudagraph", "captured_batch_sizes=8+32,default"),
            setting_of(BatcherSettings(), FEW),
            sources(),
        )
        eager = space.settings({"engine": "eager"})
        assert eager.captured_batch_sizes == ()
        assert "captured_batch_sizes" not in space.knobs_of(eager)
        few = space.settings({"engine": "cudagraph", "captured_batch_sizes": "8+32"})
        assert few.captured_batch_sizes == (8, 32)
        assert space.knobs_of(few)["captured_batch_sizes"] == "8+32"

    def test_a_sampler_is_asked_for_sizes_only_where_they_are_captured(self):
        space = make_space(
            ("engine=eager,cudagraph", "captured_batch_sizes=8+32,default"),
            setting_of(BatcherSettings(), EAGER),
            sources(),
        )
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        drawn = [space.suggest(study.ask()) for _ in range(20)]
        assert {knobs["engine"] for knobs in drawn} == {"eager", "cudagraph"}
        for knobs in drawn:
            assert ("captured_batch_sizes" in knobs) is (knobs["engine"] == "cudagraph")
            assert space.knobs_of(space.settings(knobs)) == knobs

    def test_a_setting_is_read_as_it_was_written(self):
        for setting in (setting_of(BatcherSettings(in_flight=2), FEW), BatcherSettings()):
            assert read_setting(json.loads(setting.model_dump_json())) == setting

    def test_a_run_has_the_engine_of_its_setting_and_plain_knobs(self):
        knobs = BatcherSettings(max_batch_size=7)
        run = with_setting(Settings(), setting_of(knobs, FEW))
        assert type(run.batcher) is BatcherSettings
        assert run.batcher == knobs
        assert (run.model.engine, run.model.captured_batch_sizes) == ("cudagraph", (8, 32))

    def test_an_engine_other_than_eager_and_sizes_of_its_own_are_less_simple(self):
        ranks = [simplicity(setting_of(BatcherSettings(), one)) for one in (EAGER, GRAPH, FEW)]
        assert ranks == sorted(ranks)
        assert len(set(ranks)) == 3
        assert ranks[0] == simplicity(BatcherSettings())

    def test_a_kept_run_of_another_engine_is_not_taken_for_this_one(self):
        usual, few = (setting_of(BatcherSettings(), one) for one in (GRAPH, FEW))
        config = {**usual.model_dump(mode="json"), "captured_batch_sizes": [1, 2, 3, 4]}
        kept = SimpleNamespace(record=SimpleNamespace(config=config))
        assert ran_with(kept, usual)
        assert not ran_with(kept, few)
        assert not ran_with(kept, setting_of(BatcherSettings(), EAGER))


class TestSearch:
    def test_a_run_is_planned_with_the_time_that_capturing_takes(self):
        few = EngineSources({one: ProfileSource(profiled(one, roof(1, 1))) for one in (EAGER, FEW)})
        assert overhead_s(few) == pytest.approx(overhead_s(few.sources[EAGER]) + 2.0)

    def test_a_setting_is_simulated_with_the_times_of_its_engine(self):
        for engine, time_s in TIMES.items():
            setup = setup_of(setting_of(BatcherSettings(max_batch_size=4), engine), sources())
            assert setup.limit_rps() == pytest.approx(4 / time_s(4), rel=0.02)

    def test_the_engine_that_is_faster_where_it_counts_is_found(self):
        found = searched()
        chosen = found.asked.chosen.settings
        assert chosen.engine == "cudagraph"
        assert found.references["default"].settings.engine == "eager"
        best = best_by_engine(found.asked.candidates, found.asked.objective)
        assert best[GRAPH].score.value < 0.7 * best[EAGER].score.value

    def test_of_engines_that_are_as_fast_the_simple_one_is_taken(self):
        alike = {one: ProfileSource(profiled(one, TIMES[EAGER])) for one in (EAGER, GRAPH)}
        assert searched(EngineSources(alike)).asked.chosen.settings.engine == "eager"

    def test_a_share_of_the_peak_is_of_the_engine_of_today(self):
        source = sources()
        assert source.peak_rps == pytest.approx(source.sources[EAGER].peak_rps)
        assert source.least_s(1) == pytest.approx(TIMES[GRAPH](1))

    def test_the_longest_timeout_is_the_longest_of_use_to_any_engine(self):
        slow_first = sources()
        quick_first = EngineSources(dict(reversed(slow_first.sources.items())))
        spaces = [
            make_space((), setting_of(BatcherSettings(), EAGER), source)
            for source in (slow_first, quick_first)
        ]
        assert spaces[0].ranges == spaces[1].ranges


@pytest.fixture
def profiles(tmp_path):
    """Profiles of a GPU that is not here, in two engines."""
    paths = []
    for engine in (EAGER, GRAPH):
        path = tmp_path / f"{engine}.json"
        save_profile(profiled(engine), path)
        paths.append(path)
    return paths


def request(paths, **asked):
    settings = Settings(
        model=ModelSettings(model="resnet50", device="cuda", dtype="fp16", engine="eager"),
        replay=ReplaySettings(trace="poisson.json", utilization=0.5, duration=2.0),
    )
    usual = {
        "settings": settings, "trials": 24, "patience": 12, "race": False, "profiles": tuple(paths),
        "search": ("engine=eager,cudagraph",), "model_named": False,
    }  # fmt: skip
    return Request(**{**usual, **asked})


def tuned(folder, paths, **asked):
    folder.mkdir(exist_ok=True)
    return carry_out(request(paths, **asked), folder, VirtualClock(), QUIET, effort=QUICK)


class TestTuning:
    def test_it_says_which_engine_and_what_each_would_have_given(self, tmp_path, profiles):
        result = tuned(tmp_path / "t", profiles)
        record = record_of(result)
        assert record.recommended["engine"] == "cudagraph"
        eager, graph = record.engines
        assert (eager.engine, graph.engine) == ("eager", "cudagraph")
        assert graph.best.value < eager.best.value
        assert graph.rates_rps[1] == pytest.approx(1 / TIMES[GRAPH](1))
        assert graph.cold_start_s == pytest.approx(1.5)
        said = "\n".join(line for line in conclusion(record) if isinstance(line, str))
        assert ", cudagraph" in said
        assert "cudagraph" in record.chosen.label

    def test_it_is_resumed_from_the_profile_of_each_engine_that_it_kept(self, tmp_path, profiles):
        first = tuned(tmp_path / "t", profiles)
        for path in profiles:
            path.unlink()
        asked = read_request(tmp_path / "t")
        again = carry_out(asked, tmp_path / "t", VirtualClock(), QUIET, effort=QUICK)
        assert again.recommended == first.recommended
        assert len(again.findings.asked.trials) == len(first.findings.asked.trials)

    def test_an_engine_without_a_profile_is_named(self, tmp_path, profiles):
        with pytest.raises(InputError, match="there is none of compile among"):
            load_engines(
                request(profiles, search=("engine=eager,compile",)),
                tmp_path,
                VirtualClock(),
                QUIET,
            )

    def test_what_is_current_is_simulated_in_the_engine_that_it_has(self, tmp_path, profiles):
        path = tmp_path / "now.toml"
        path.write_text('[model]\nengine = "cudagraph"\n[batcher]\nmax_batch_size = 8\n')
        current = read_current(path, ModelSettings(engine="eager"))
        assert isinstance(current, Setting)
        assert type(read_current(path, ModelSettings(engine="cudagraph"))) is BatcherSettings
        result = tuned(tmp_path / "t", profiles, search=(), current=current)
        assert result.findings.references["current"].settings.engine == "cudagraph"
        assert result.findings.references["default"].settings.engine == "eager"
        assert {t.knobs.get("engine") for t in result.findings.asked.trials} == {None}

    def test_each_arm_races_with_its_own_engine(self, tmp_path):
        class Device(StandIn):
            def __call__(self, arm, arrivals, folder, ender=None):
                self.source = source.sources[Engine.of(arm.settings.model)]
                ran.add((arm.name, arm.settings.model.engine))
                return super().__call__(arm, arrivals, folder, ender)

        source, ran = sources(), set()
        found = Verification(
            arms={
                "recommended": setting_of(BatcherSettings(batch_timeout_ms=0.0), GRAPH),
                "default": setting_of(BatcherSettings(), EAGER),
            },
            settings=Settings(),
            device_metric=DeviceMetric(Latency(), Statistic(), None),
            traffic=traffic(source, utilization=0.5, duration=1.0),
            source=source,
            folder=tmp_path,
            budget_s=600.0,
            first=20,
            make_runner=lambda _: Device(),
        ).run()
        assert ran == {("recommended", "cudagraph"), ("default", "eager")}
        assert found.winner == "recommended"
        for name, told in found.race.items():
            assert found.predicted[name] == pytest.approx(told.value)


def test_on_the_device_every_trial_runs_in_its_engine(tmp_path):
    class Device(StandIn):
        def __call__(self, arm, arrivals, folder, ender=None):
            engine = Engine.of(arm.settings.model)
            self.source = ProfileSource(profiled(engine, TIMES[like[engine]]))
            ran.add(engine)
            return super().__call__(arm, arrivals, folder, ender)

    ran, compiled = set(), Engine("compile")
    like = {EAGER: EAGER, compiled: GRAPH}
    for engine, path in ((EAGER, "profile.json"), (compiled, "profile-compile.json")):
        made = profiled(engine, TIMES[like[engine]], model="mlp")
        on_cpu = replace(made.subject, device="cpu", device_name="", dtype="fp32")
        save_profile(replace(made, subject=on_cpu), tmp_path / path)
    settings = Settings(
        model=ModelSettings(model="mlp", device="cpu"),
        replay=ReplaySettings(trace="poisson.json", utilization=0.5, duration=2.0),
    )
    asked = Request(
        settings=settings, search=("engine=eager,compile",), simulate=False, budget_s=300.0,
        trials=12, patience=12,
    )  # fmt: skip
    result = carry_out(
        asked, tmp_path, VirtualClock(), QUIET, effort=QUICK, make_runner=lambda _: Device()
    )
    assert ran == {EAGER, compiled}
    assert result.recommended["engine"] == "compile"
    assert [one.engine for one in record_of(result).engines if one.best] == ["eager", "compile"]


class TestCommand:
    def test_with_a_profile_of_each_engine_it_finds_the_engine_too(self, dynbatch, profiles):
        options = [part for path in profiles for part in ("--profile", path)]
        code, out, err = dynbatch(
            "tune", *options, "--trace", "poisson.json", "--utilization", 0.5, "--duration", 2,
            "--no-race", "--trials", 24, "--patience", 12, "--out", "found",
        )  # fmt: skip
        assert code == 0, err
        assert "engines, best for latency" in out
        config = tomllib.loads((profiles[0].parent / "found/recommended.toml").read_text())
        assert config["model"]["engine"] == "cudagraph"
        assert "engine" not in config["batcher"]
        tuning = read_tuning(profiles[0].parent / "found")
        assert {panel.title for panel in panels_of(tuning.record)} == {"eager", "cudagraph"}
        table = engines_table(tuning.record)
        assert table.bold == {1}
        html = (tuning.path / "report.html").read_text(encoding="utf-8")
        assert "Which engine" in html

    @pytest.mark.parametrize(
        ("other", "said"),
        [
            (profiled(EAGER), "profiles must be of different engines, but two are of eager"),
            (
                profiled(GRAPH, model="vit-b16"),
                "profiles must be of one model and device in several engines, but model is "
                "resnet50, not vit-b16",
            ),
            (profiled(GRAPH, device_name="another"), "device name is a GPU, not another"),
        ],
    )
    def test_profiles_that_are_not_of_one_model_in_several_engines_are_refused(
        self, dynbatch, profiles, other, said
    ):
        save_profile(other, profiles[1])
        code, _, err = dynbatch("tune", "--profile", profiles[0], "--profile", profiles[1])
        assert code == 2
        assert said in err
        assert len(err.strip().splitlines()) == 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (
                ("--model", "affine:5,0.1", "--search", "engine=eager,compile"),
                "search of engine must be with a model that uses torch, but got affine",
            ),
            (
                ("--model", "mlp", "--search", "engine=eager,cudagraph", "--device", "cpu"),
                "engine cudagraph must have a CUDA device, but got 'cpu'",
            ),
        ],
    )
    def test_an_engine_that_cannot_run_is_refused_before_anything_is_measured(
        self, dynbatch, options, said, tmp_path
    ):
        code, _, err = dynbatch("tune", *options)
        assert code == 2
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert not list(tmp_path.iterdir())


def test_what_several_profiles_imply_does_not_override_what_is_said():
    subjects = [profiled(engine).subject for engine in (EAGER, GRAPH)]
    subjects.append(replace(subjects[1], captured_batch_sizes=(8, 32)))
    assert implied_by(subjects[:2], ("in_flight=1,2",)) == (
        "in_flight=1,2", "engine=eager,cudagraph",
    )  # fmt: skip
    assert implied_by(subjects, ("engine=cudagraph",)) == (
        "engine=cudagraph", "captured_batch_sizes=default,8+32",
    )  # fmt: skip
    assert implied_by(subjects[:1], ()) == ()
