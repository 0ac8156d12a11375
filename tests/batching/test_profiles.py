"""A profile: its curve, what follows from it, what it is of, its file, its draws."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching import ProfileError, VirtualClock
from batching.models import CallableModel, Placement, RooflineModel
from batching.profiles import (
    ServiceProfile,
    Subject,
    load_profile,
    require_match,
    save_profile,
    subject_of,
)
from batching.profiles.draws import block_length
from batching.profiles.samples import (
    correlation_length,
    falling_by_no_chance,
    relative_error,
)
from tests.batching.profiled import MIXED, NoisyModel, affine, from_times, measured

times = st.floats(min_value=1e-6, max_value=1e3)


class TestCurve:
    @given(
        st.dictionaries(st.integers(2, 40), st.lists(times, min_size=1, max_size=5), max_size=8),
        st.lists(times, min_size=1, max_size=5),
    )
    @settings(deadline=None)
    def test_never_falls_and_stays_within_what_was_measured(self, by_size, of_one):
        profile = from_times({1: of_one, **by_size})
        curve = [profile.total_s(size) for size in range(1, profile.max_batch_size + 1)]
        assert all(a <= b for a, b in itertools.pairwise(curve))
        medians = [np.median(some) for some in (of_one, *by_size.values())]
        assert min(medians) * (1 - 1e-9) <= curve[0]
        assert curve[-1] <= max(medians) * (1 + 1e-9)

    def test_is_the_median_where_measured_and_linear_between(self):
        profile = from_times({1: [1.0, 9.0, 2.0], 5: [4.0]})
        assert [profile.total_s(size) for size in range(1, 6)] == [2.0, 2.5, 3.0, 3.5, 4.0]

    def test_pools_sizes_that_would_make_it_fall_by_their_number_of_samples(self):
        values, weights = [1.0, 5.0, 2.0, 7.0], [1.0, 1.0, 2.0, 1.0]
        for error in (1.0, np.inf):
            assert falling_by_no_chance(values, weights, [error] * 4) == [1.0, 3.0, 3.0, 7.0]

    def test_keeps_a_fall_that_is_no_chance(self):
        # A batch of 15 that takes longer than one of 16, each known to 1 %.
        values = [2.9, 3.3, 2.9, 3.4, 3.35]
        fitted = falling_by_no_chance(values, [1.0] * 5, [0.03] * 5)
        assert fitted == [2.9, 3.3, 2.9, 3.375, 3.375]

    def test_follows_measured_times_that_fall(self):
        rng = np.random.default_rng(0)
        times_s = {1: 0.002, 2: 0.0015, 3: 0.0025}
        found = from_times({n: (t * rng.normal(1, 0.02, 60)).tolist() for n, t in times_s.items()})
        assert [found.total_s(n) for n in times_s] == pytest.approx(
            list(times_s.values()), rel=0.02
        )
        profile = from_times({1: [5.0], 2: [2.0, 2.0]})
        assert (profile.total_s(1), profile.total_s(2)) == (3.0, 3.0)
        assert profile.quantile_s(1, 0.5) == pytest.approx(3.0)

    @pytest.mark.parametrize("size", [0, -1, 6, 1000])
    def test_refuses_sizes_it_has_not_seen(self, size):
        profile = from_times({1: [1.0], 5: [2.0]})
        for ask in (profile.total_s, profile.parts_s, profile.rate_rps):
            with pytest.raises(ProfileError, match=f"from 1 to 5.*but got {size}"):
                ask(size)
        with pytest.raises(ProfileError, match="from 1 to 5"):
            profile.draws(np.random.default_rng(0)).next(size)

    def test_quantiles_are_nearest_rank_and_linear_between_sizes(self):
        profile = from_times({1: [1.0, 2.0, 3.0, 4.0], 3: [10.0, 20.0, 30.0, 40.0]})
        assert [profile.quantile_s(1, q) for q in (0.25, 0.26, 1.0)] == [1.0, 2.0, 4.0]
        assert profile.quantile_s(2, 0.25) == pytest.approx(5.5)
        assert profile.quantile_s(2, 1.0) == pytest.approx(22.0)

    def test_parts_sum_to_the_whole(self):
        profile = measured(affine)
        for size in (1, 5, 128):
            assert sum(profile.parts_s(size)) == pytest.approx(profile.total_s(size))

    @pytest.mark.parametrize(
        ("by_size", "message"),
        [({2: [1.0]}, "must have measured batch size 1"), ({1: [0.0]}, "take time")],
    )
    def test_a_profile_without_what_it_needs_is_refused(self, by_size, message):
        with pytest.raises(ProfileError, match=message):
            from_times(by_size)


class TestCapacity:
    def test_of_an_affine_model_is_at_the_largest_size(self):
        profile = ServiceProfile.of_model(affine(VirtualClock()), 32)
        assert profile.peak_batch_size == 32
        assert profile.peak_rps == pytest.approx(32 / 0.0082)
        assert profile.batching_gain == pytest.approx(32 / 0.0082 * 0.0051)
        assert profile.rate_rps(profile.knee) >= 0.9 * profile.peak_rps
        assert profile.rate_rps(profile.knee - 1) < 0.9 * profile.peak_rps

    def test_of_a_model_that_gains_nothing_is_at_size_1(self):
        profile = ServiceProfile.exact(lambda n: 0.5 * n, 16, MIXED)
        assert (profile.peak_batch_size, profile.knee) == (1, 1)
        assert profile.batching_gain == 1.0
        assert profile.best_size_within(100.0) == 1, "the smallest of one rate"

    def test_of_a_model_that_takes_no_longer_for_more_is_at_the_largest_size(self):
        profile = ServiceProfile.exact(lambda n: 0.5, 4, MIXED)
        assert (profile.peak_batch_size, profile.knee, profile.best_size_within(0.5)) == (4, 4, 4)

    def test_the_best_size_within_a_time_is_the_fastest_that_keeps_it(self):
        profile = ServiceProfile.of_model(affine(VirtualClock()), 64)
        assert profile.best_size_within(0.00705) == 20
        assert profile.best_size_within(1.0) == 64
        assert profile.best_size_within(0.005) is None

    def test_only_a_synthetic_model_is_known_unmeasured(self):
        with pytest.raises(ProfileError, match="must be synthetic"):
            ServiceProfile.of_model(CallableModel(len), 4)

    def test_the_error_of_a_median_is_that_of_many_such_medians(self):
        rng = np.random.default_rng(5)
        draws = np.exp(0.2 * rng.standard_normal((2000, 60)))
        true = np.median(draws, axis=1).std()
        assert np.mean([relative_error(row) for row in draws[:300]]) == pytest.approx(true, rel=0.1)


class TestLengths:
    def test_are_interpolated_between_and_refused_outside(self):
        profile = from_times({1: [1.0], 2: [2.0]})
        samples = [
            s._replace(length=length, execute_s=length * s.execute_s)
            for s in profile.samples
            for length in (10, 30)
        ]
        both = ServiceProfile(MIXED, (*profile.samples, *samples))
        assert both.total_s(2) == 2.0
        assert both.total_s(2, 10) == 20.0
        assert both.total_s(2, 20) == 40.0
        for length in (9, 31):
            with pytest.raises(ProfileError, match=f"from 10 to 30.*but got {length}"):
                both.total_s(1, length)
        with pytest.raises(ProfileError, match="left out"):
            profile.total_s(1, 10)

    def test_may_be_any_number_each_with_size_1(self):
        plain = from_times({1: [1.0], 2: [2.0]}).samples
        of_lengths = [plain[0]._replace(length=n, execute_s=float(n)) for n in (10, 20, 40)]
        profile = ServiceProfile(MIXED, (*plain, *of_lengths))
        assert [profile.total_s(1, n) for n in (10, 15, 25, 40)] == [10.0, 15.0, 25.0, 40.0]
        with pytest.raises(ProfileError, match="must have measured batch size 1"):
            ServiceProfile(MIXED, (*plain, of_lengths[0], plain[1]._replace(length=20)))


class TestSubjects:
    def test_that_are_equal_differ_in_nothing(self):
        assert MIXED.differences(MIXED).decisive == ()
        assert require_match(from_times({1: [1.0]}), MIXED) == []

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"model": "other"}, "model is m, not other"),
            ({"device": "cuda:0", "device_name": "H100"}, "device is cpu, not cuda"),
            ({"device_name": "another"}, "device name is a processor, not another"),
            ({"dtype": "bf16"}, "dtype is fp32, not bf16"),
            ({"engine": "compile"}, "engine is eager, not compile"),
            ({"channels_last": True}, "layout is channels first, not channels last"),
            (
                {"captured_batch_sizes": (2, 8)},
                "list of captured batch sizes is the usual, not 2,8",
            ),
        ],
    )
    def test_of_something_else_are_refused_with_the_difference_unless_forced(self, change, text):
        profile = from_times({1: [1.0]})
        other = Subject(**{**{n: getattr(MIXED, n) for n in Subject.__slots__}, **change})
        with pytest.raises(ProfileError) as refused:
            require_match(profile, other)
        assert f"its {text}" in str(refused.value)
        assert "--force" in str(refused.value)
        assert require_match(profile, other, force=True) == [f"the profile's {text}"]

    def test_of_other_versions_or_threads_are_remarked_on(self):
        other = Subject("m", "cpu", "a processor", "fp32", "eager", 4, {"python": "3.12.1"})
        assert require_match(from_times({1: [1.0]}), other) == [
            "the profile's torch threads is 1, not 4",
            "the profile's python is 3.11.7, not 3.12.1",
        ]

    def test_that_differ_in_much_say_so_from_the_model_on(self):
        other = Subject("other", "cpu", "another", "bf16", "compile")
        assert [text.partition(" is ")[0] for text in MIXED.differences(other).decisive] == [
            "model",
            "device name",
            "dtype",
            "engine",
        ]

    def test_another_gpu_of_the_same_kind_is_the_same_device(self):
        first, second = (Subject("m", f"cuda:{i}", "H100", "fp16", "eager") for i in (0, 1))
        assert first.differences(second).decisive == ()

    def test_a_synthetic_model_has_no_device(self):
        subject = subject_of(RooflineModel(0.1, 0.2, 0.3, VirtualClock()), Placement())
        assert (subject.device, subject.device_name, subject.dtype) == ("synthetic", "", "")


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "deep" / "p.json"

    def test_what_is_written_is_what_is_read(self, path):
        profile = measured(affine, max_batch_size=8)
        save_profile(profile, path)
        assert load_profile(path) == profile

    def test_the_engine_and_what_it_took_are_kept(self, path):
        profile = measured(affine, max_batch_size=2)
        graphs = replace(
            profile.subject,
            engine="cudagraph",
            captured_batch_sizes=(1, 8),
            channels_last=True,
        )
        cold = replace(profile.cold_start, engine_s=1.5, engine_bytes=2_000_000)
        profile = replace(profile, subject=graphs, cold_start=cold)
        save_profile(profile, path)
        assert load_profile(path) == profile

    def test_a_file_from_before_there_were_engines_is_read(self, path):
        profile = measured(affine, max_batch_size=2)
        save_profile(profile, path)
        old = json.loads(path.read_text())
        for table, key in [
            ("subject", "captured_batch_sizes"),
            ("subject", "channels_last"),
            ("cold_start", "engine_s"),
            ("cold_start", "engine_bytes"),
        ]:
            del old[table][key]
        path.write_text(json.dumps(old))
        assert load_profile(path) == profile
        assert [p.name for p in path.parent.iterdir()] == ["p.json"]

    def test_lengths_and_what_was_not_measured_survive(self, path):
        plain = from_times({1: [1.0], 2: [2.0]}, memory_bytes={1: 5, 2: 7}, stopped="memory")
        samples = (*plain.samples, plain.samples[0]._replace(length=9))
        profile = ServiceProfile(plain.subject, samples, memory_bytes={1: 5, 2: 7})
        save_profile(profile, path)
        again = load_profile(path)
        assert again.samples == samples
        assert again.memory_bytes == {1: 5, 2: 7}
        assert math.isnan(again.cold_start.load_s)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.update(kind="run"), "kind must be 'service profile', but got 'run'"),
            (lambda d: d.update(schema_version=2), "schema_version must be 1, but got 2"),
            (lambda d: d.pop("samples"), "samples: Field required"),
            (lambda d: d.pop("kind"), "must be a service profile: kind: Field required"),
            (lambda d: d.pop("schema_version"), "schema_version: Field required"),
            (lambda d: d.update(colour=1), "colour: Extra inputs are not permitted"),
            (lambda d: d["samples"]["size"].pop(), "its columns must be of one length"),
            (lambda d: d["samples"]["size"].__setitem__(0, 0), "samples.size.0"),
            (lambda d: d["samples"]["execute_s"].__setitem__(0, -1.0), "samples.execute_s.0"),
            (lambda d: d["samples"]["execute_s"].__setitem__(0, "1"), "samples.execute_s.0"),
            (lambda d: d.update(wake_s=[]), "wake, timer and turn samples"),
            (lambda d: d["samples"].update(size=[2] * 60), "must have measured batch size 1"),
            (lambda d: d.update(created="yesterday"), "created"),
        ],
    )
    def test_a_file_that_was_tampered_with_is_refused_in_one_line(self, path, change, message):
        save_profile(measured(affine, max_batch_size=2), path)
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        with pytest.raises(ProfileError) as refused:
            load_profile(path)
        assert message in str(refused.value)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"NaN", b"null"])
    def test_a_file_that_is_none_is_refused_in_one_line(self, tmp_path, content):
        (tmp_path / "p.json").write_bytes(content)
        with pytest.raises(ProfileError, match=r"p\.json: must be a service profile") as refused:
            load_profile(tmp_path / "p.json")
        assert "\n" not in str(refused.value)

    def test_a_file_that_is_not_there_or_cannot_be_written_says_so(self, tmp_path):
        with pytest.raises(ProfileError, match="cannot be read: No such file"):
            load_profile(tmp_path / "none.json")
        (tmp_path / "file").touch()
        with pytest.raises(ProfileError, match="cannot be written"):
            save_profile(from_times({1: [1.0]}), tmp_path / "file" / "p.json")


class TestDraws:
    @staticmethod
    def drawn(profile, sizes, seed=0):
        draws = profile.draws(np.random.default_rng(seed))
        return np.array([sum(draws.next(size)) for size in sizes])

    def test_of_an_exact_profile_are_exact(self):
        draws = ServiceProfile.of_model(affine(VirtualClock()), 64).draws(np.random.default_rng(1))
        for size in (1, 7, 64):
            assert draws.next(size) == (0.0, 0.005 + 0.0001 * size, 0.0)
        assert (draws.wake(), draws.timer(), draws.turn()) == (0.0, 0.0, 0.0)

    def test_are_the_same_for_the_same_seed(self):
        profile = from_times({1: [1.0, 2.0, 3.0], 2: [4.0, 5.0, 6.0]})
        sizes = [1, 2, 1, 1, 2] * 20
        assert list(self.drawn(profile, sizes, 3)) == list(self.drawn(profile, sizes, 3))
        assert list(self.drawn(profile, sizes, 3)) != list(self.drawn(profile, sizes, 4))

    def test_are_python_floats(self):
        draws = from_times({1: [1.0, 2.0], 2: [3.0]}).draws(np.random.default_rng(0))
        assert {type(part) for part in (*draws.next(1), *draws.next(2), draws.wake())} == {float}

    def test_each_size_keeps_its_own_spread(self):
        profile = measured(
            lambda clock: NoisyModel(
                clock, lambda n: 0.001 * n, lambda n: 0.3 if n <= 8 else 0.02, seed=2
            ),
            max_batch_size=16,
            budget_s=200.0,
        )
        for size, sd in ((1, 0.3), (16, 0.02)):
            logs = np.log(self.drawn(profile, [size] * 20_000) / (0.001 * size))
            assert logs.std() == pytest.approx(sd, rel=0.25)
            assert abs(np.median(logs)) < 0.1 * sd + 0.01
        # Between two measured sizes it lies between theirs.
        assert 0.02 < np.log(self.drawn(profile, [10] * 20_000)).std() < 0.3

    @pytest.mark.parametrize("phi", [0.0, 0.9])
    def test_a_slow_phase_stays_a_slow_phase_whatever_the_sizes(self, phi):
        profile = measured(
            lambda clock: NoisyModel(
                clock, lambda n: 0.001 * n, lambda n: 0.2 / n, phi=phi, seed=3
            ),
            max_batch_size=4,
            budget_s=300.0,
        )
        sizes = np.random.default_rng(9).choice(profile.sizes, size=30_000)
        scale = np.array([0.2 / size for size in sizes])
        states = np.log(self.drawn(profile, sizes.tolist()) / (0.001 * sizes)) / scale
        states -= states.mean()
        for lag in (1, 5):
            found = float(states[:-lag] @ states[lag:] / (states @ states))
            assert found == pytest.approx(phi**lag, abs=0.17)

    def test_blocks_are_as_long_as_the_correlation_asks_for(self):
        rng = np.random.default_rng(0)
        assert correlation_length(rng.random(1000)) == 1
        assert block_length(rng.random(1000)) == 10
        slow = np.repeat(rng.random(50), 20)
        assert 8 <= correlation_length(slow) <= 20
        assert 80 <= block_length(slow) <= 200
        assert block_length(rng.random(4)) == 4

    @pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
    @pytest.mark.parametrize(
        ("series", "length"),
        [
            (np.zeros(400), 1),  # nothing varies
            (np.tile([1.0, -1.0], 200), 1),  # each is the opposite of the last
            # Of stretches of ten a lag of l leaves 1 - 2l/10: 0.4 of three, 0.2 of four.
            (np.tile(np.repeat([1.0, -1.0], 10), 20), 4),
            (np.repeat([1.0, -1.0], 200), 85),  # one step leaves 1 - 3l/400: 0.370 of 84, 0.363
        ],
    )
    def test_a_correlation_is_over_where_1_over_e_of_it_is_left_whatever_the_unit(
        self, series, length, unit
    ):
        assert correlation_length(unit * series) == length
