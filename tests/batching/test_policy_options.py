"""How a policy is made: its options, the registry, a class of one's own."""

from math import inf, nan

import pytest

from batching import DynamicBatcher, VirtualClock
from batching.errors import ConfigError
from batching.policies import (
    POLICIES,
    Dispatch,
    Lane,
    PolicyOptions,
    TimeoutPolicy,
    Waiting,
    make_policy,
)


class TestMaking:
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"max_batch_size": 0}, "max_batch_size must be >= 1, but got 0"),
            ({"batch_timeout_s": -0.003}, "batch_timeout_ms must be >= 0, but got -3"),
            ({"batch_timeout_s": nan}, "batch_timeout_ms must be >= 0, but got nan"),
            ({"batch_timeout_s": inf}, "batch_timeout_ms must be >= 0, but got inf"),
            (
                {"min_wait_s": 0.012},
                "min_wait_ms must be between 0 and batch_timeout_ms (10), but got 12",
            ),
            (
                {"min_wait_s": -0.001},
                "min_wait_ms must be between 0 and batch_timeout_ms (10), but got -1",
            ),
            (
                {"preferred_batch_sizes": (4, 4)},
                "preferred_batch_sizes must be strictly increasing, each between 1 and "
                "max_batch_size (8), but got 4, 4",
            ),
            ({"preferred_batch_sizes": (0,)}, "max_batch_size (8), but got 0"),
            ({"preferred_batch_sizes": (4, 9)}, "max_batch_size (8), but got 4, 9"),
            ({"slo_s": 0.0}, "slo_ms must be > 0, but got 0"),
            ({"slo_s": nan}, "slo_ms must be > 0, but got nan"),
        ],
    )
    def test_an_option_out_of_its_range_is_named_in_the_unit_of_the_edge(self, changed, message):
        with pytest.raises(ConfigError) as caught:
            PolicyOptions(**{"max_batch_size": 8, "batch_timeout_s": 0.01, **changed})
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["adaptive", "deadline"])
    def test_a_policy_that_needs_an_slo_says_so(self, name):
        with pytest.raises(ConfigError, match=f"policy {name} needs slo_ms, but got none"):
            make_policy(name, PolicyOptions(8, 0.01))

    @pytest.mark.parametrize("name", sorted(POLICIES))
    def test_options_it_has_no_use_for_are_ignored(self, name):
        make_policy(name, PolicyOptions(8, 0.01, 0.005, (2, 4), 0.1))

    def test_an_unknown_policy_is_named_with_those_there_are(self):
        with pytest.raises(ConfigError) as caught:
            make_policy("fifo", PolicyOptions(8, 0.01))
        assert str(caught.value) == (
            "policy must be one of adaptive, deadline, timeout, window, or path/to/file.py:Class, "
            "but got 'fifo'"
        )

    def test_a_class_of_ones_own_is_called_with_the_options(self, tmp_path):
        (tmp_path / "greedy.py").write_text(
            "from batching.policies import Dispatch\n"
            "class Greedy:\n"
            "    def __init__(self, options):\n"
            "        self.most = options.max_batch_size\n"
            "    def decide(self, now_s, waiting):\n"
            "        return Dispatch(0, min(self.most, waiting.lanes[0].count), 'greedy')\n"
            "    def observe(self, batch):\n"
            "        pass\n"
        )
        policy = make_policy(f"{tmp_path}/greedy.py:Greedy", PolicyOptions(3, 0.01))
        assert policy.decide(0.0, Waiting([Lane(9, 9, 0.0)], 0.0)) == Dispatch(0, 3, "greedy")

    def test_a_module_that_can_be_imported_may_be_named_too(self):
        policy = make_policy("batching.policies.timeout:TimeoutPolicy", PolicyOptions(3, 0.01))
        assert isinstance(policy, TimeoutPolicy)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nowhere.py:Fifo", "policy file must exist, but got 'nowhere.py'"),
            ("no_such_module:Fifo", "policy module 'no_such_module' cannot be imported"),
            ("json:Fifo", "json must define a class 'Fifo', but it does not"),
            (
                "json:JSONDecoder",
                "json:JSONDecoder() must return a policy, but it raised TypeError",
            ),
            ("builtins:str", "policy builtins:str must have decide and observe, but has no decide"),
            (":Fifo", "policy must be one of"),
        ],
    )
    def test_a_class_that_is_no_policy_is_refused_in_one_line(self, name, message):
        with pytest.raises(ConfigError) as caught:
            make_policy(name, PolicyOptions(8, 0.01))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "name", "seconds"),
    [
        ({"batch_timeout_ms": 40.0}, "batch_timeout_s", 0.04),
        ({"min_wait_ms": 4.0}, "min_wait_s", 0.004),
        ({"slo_ms": 50.0}, "slo_s", 0.05),
        ({}, "slo_s", None),
    ],
)
def test_a_policy_is_told_in_seconds_what_the_batcher_is_told_in_milliseconds(
    given, name, seconds, monkeypatch
):
    told = []

    def make(options):
        told.append(options)
        return TimeoutPolicy(options)

    monkeypatch.setitem(POLICIES, "told", make)
    DynamicBatcher(lambda payloads: payloads, policy="told", clock=VirtualClock(), **given)
    assert getattr(told[0], name) == (
        None if seconds is None else pytest.approx(seconds, rel=1e-12)
    )
