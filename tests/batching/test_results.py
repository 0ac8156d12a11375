"""What a model may return for a batch: a result for each request, or an error for every one."""

import collections
import dataclasses
import functools
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from batching import BatchExecutionError, ConfigError, DynamicBatcher, RealClock
from batching.errors import WrongOutputCountError
from batching.execution.choose import make_executor
from batching.models import Collated, Placement
from batching.models.results import checked_results
from batching.models.structure import own
from batching.request import BatchRecord


class Pair(NamedTuple):
    labels: list
    scores: list


@dataclasses.dataclass
class Scores:
    labels: list
    scores: list


class Shorter(list):
    """Says that it has two and gives one."""

    def __iter__(self):
        return iter([1])


class Endless:
    """A sequence by its methods, whose iteration does not end."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index


class Failing(collections.abc.Sequence):
    """A sequence that reads from a disk that is not there."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise OSError("no\ndisk")


class NoLength(Failing):
    """A sequence whose very length cannot be had."""

    def __len__(self):
        raise OSError("no disk")


class Bag:
    """Holds things, in no order that one could ask for."""

    def __len__(self):
        return 2

    def __iter__(self):
        return iter("ab")


class Record(Bag):
    """A row of a database: by names and by positions, and not a sequence of results."""

    def __getitem__(self, key):
        return key

    def keys(self):
        return ["a", "b"]


async def later():
    """An answer that has to be awaited."""
    return [1, 2]


TWO = torch.arange(6.0).reshape(2, 3)

REFUSED = [
    ("a set", lambda: {1, 2}, "a set, which has no order"),
    ("a frozen set", lambda: frozenset({1, 2}), "a frozenset, which has no order"),
    ("the keys of a dict", {1: 1, 2: 2}.keys, "a dict_keys, which has no order"),
    ("the values of a dict", {1: 1, 2: 2}.values, "a dict_values, which has names"),
    ("the items of a dict", {1: 1, 2: 2}.items, "a dict_items, which has no order"),
    ("a dict", lambda: {"a": 1, "b": 2}, "a dict, which has names in place of an order"),
    ("a counter", lambda: collections.Counter("ab"), "a Counter, which has names"),
    (
        "transformers' outputs",
        lambda: SequenceClassifierOutput(loss=TWO[0], logits=TWO),
        "a SequenceClassifierOutput, which has names",
    ),
    ("a string", lambda: "ab", "a str, which is one value"),
    ("bytes", lambda: b"ab", "a bytes, which is one value"),
    ("a bytearray", lambda: bytearray(b"ab"), "a bytearray, which is one value"),
    ("a string of a class", lambda: collections.UserString("ab"), "UserString, which is one value"),
    ("a named tuple of columns", lambda: Pair([1, 2], [3, 4]), "a Pair, whose fields are columns"),
    ("torch.max of rows", lambda: TWO.max(dim=1), "a max, whose fields are columns"),
    ("a dataclass of columns", lambda: Scores([1, 2], [3, 4]), "a Scores, whose fields"),
    (
        "a frame",
        lambda: pd.DataFrame({"a": [1, 2], "b": [3, 4]}),
        "DataFrame, which is made of",
    ),
    ("a table", lambda: pa.table({"a": [1, 2], "b": [3, 4]}), "a Table, which is made of columns"),
    ("a record batch", lambda: pa.record_batch({"a": [1, 2]}), "RecordBatch, which is made of"),
    ("a generator", lambda: (x for x in "ab"), "a generator, which has no length"),
    ("a lazy map", lambda: map(str, "ab"), "a map, which has no length"),
    ("a coroutine", later, "a coroutine, which must be awaited"),
    ("nothing", lambda: None, "None"),
    ("a number", lambda: 2, "an int, which has no length"),
    ("a number of numpy's", lambda: np.float64(2), "a float64, which has no dimensions"),
    ("a tensor without dimensions", lambda: torch.tensor(2.0), "a Tensor, which has no dimensions"),
    ("a collection without order", Bag, "a Bag, which has no order"),
    ("a record of named fields", Record, "a Record, which has names in place of an order"),
    ("a list that is too short", lambda: [1], "must return 2 results, but got 1"),
    ("a tensor of too many rows", lambda: torch.zeros(3, 1), "must return 2 results, but got 3"),
    ("a list that gives less", lambda: Shorter([1, 2]), "got 1 by iterating a Shorter of length 2"),
    ("what does not end", Endless, "got 3 or more by iterating a Endless of length 2"),
    ("what fails when iterated", Failing, "the Failing that it returned raised OSError: no disk"),
    ("what fails when measured", NoLength, "the NoLength that it returned raised OSError: no disk"),
]
TAKEN = [
    ("a list", lambda: ["a", "b"]),
    ("a tuple of values", lambda: ("a", "b")),
    ("a list of pairs", lambda: [("a", 1), ("b", 2)]),
    ("a list of dicts", lambda: [{"a": 1}, {"a": 2}]),
    ("a queue", lambda: collections.deque(["a", "b"])),
    ("a list of a class", lambda: collections.UserList(["a", "b"])),
    ("a range", lambda: range(2)),
    ("a Series that is indexed backwards", lambda: pd.Series(["a", "b"], index=[1, 0])),
    ("an array of strings", lambda: np.array(["a", "b"])),
]


@pytest.mark.parametrize("of_function", [False, True], ids=["model", "function"])
class TestWhatIsNoSequenceOfResults:
    @pytest.mark.parametrize(("make", "why"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
    def test_it_is_refused_in_one_line_that_says_why(self, make, why, of_function):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # that a coroutine was never awaited
            with pytest.raises(WrongOutputCountError) as caught:
                checked_results(make(), 2, of_function=of_function)
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("make", [t[1] for t in TAKEN], ids=[t[0] for t in TAKEN])
    def test_any_other_sequence_is_taken_in_its_own_order(self, make, of_function):
        assert checked_results(make(), 2, of_function=of_function) == list(make())

    def test_rows_of_a_tensor_and_of_an_array_are_results(self, of_function):
        for rows in (TWO, TWO.numpy()):
            found = checked_results(rows, 2, of_function=of_function)
            assert [row.tolist() for row in found] == [[0, 1, 2], [3, 4, 5]]

    def test_what_an_iteration_raised_is_the_cause(self, of_function):
        with pytest.raises(WrongOutputCountError) as caught:
            checked_results(Failing(), 2, of_function=of_function)
        assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(lambda: (TWO, TWO + 1), id="tensors"),
        pytest.param(lambda: (TWO.numpy(), TWO.numpy()), id="arrays"),
        pytest.param(lambda: (["a", "b"], [0.5, 0.25]), id="lists"),
        pytest.param(lambda: tuple(zip(("a", 0.5), ("b", 0.25), strict=True)), id="tuples"),
    ],
)
def test_a_tuple_that_may_be_columns_is_refused_of_a_function_and_taken_of_a_models_split(columns):
    with pytest.raises(WrongOutputCountError, match="which may be columns: return a list"):
        checked_results(columns(), 2, of_function=True)
    assert len(checked_results(columns(), 2)) == 2
    assert len(checked_results(list(columns()), 2, of_function=True)) == 2


def ask(run, count, **options):
    """What each of `count` requests, 0, 1, ..., of one batch gets, or is raised."""
    with DynamicBatcher(run, max_batch_size=count, batch_timeout_ms=500, **options) as batcher:
        requests = [batcher.submit(i) for i in range(count)]
        got = []
        for request in requests:
            try:
                got.append(request.result(10))
            except BatchExecutionError as error:
                got.append(error)
    return got


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda p: {f"answer to {x}" for x in p}, id="set"),
        pytest.param(lambda p: torch.rand(len(p), 3).max(dim=1), id="torch.max"),
        pytest.param(lambda p: Pair([f"label {x}" for x in p], ["score"] * len(p)), id="named"),
        pytest.param(lambda p: Shorter([1, 2]), id="shorter than it says"),
    ],
)
def test_every_member_of_such_a_batch_gets_an_error_and_none_a_result(run):
    calls = []
    got = ask(lambda payloads: calls.append(len(payloads)) or run(payloads), 2)
    assert [type(one) for one in got] == [BatchExecutionError] * 2
    assert all(isinstance(one.__cause__, WrongOutputCountError) for one in got)
    assert calls == [2]  # no smaller batch would do better


def test_the_count_is_that_of_the_batch_whatever_a_model_does_to_its_list():
    executor = make_executor(lambda payloads: [payloads.pop()], Placement(), RealClock())
    with pytest.raises(WrongOutputCountError, match="must return 2 results, but got 1"):
        executor.execute(["a", "b"], BatchRecord(size=2))


class TestMemory:
    """A result of a user's own function is no view of memory that its next batch may overwrite."""

    def test_a_buffer_that_is_used_again_does_not_change_earlier_results(self):
        buffer = np.zeros((2, 3))

        def run(payloads):
            buffer[:] = np.stack(payloads)
            return buffer

        executor = make_executor(run, Placement(), RealClock())
        [first, _] = executor.execute([np.ones(3), np.ones(3)], BatchRecord(size=2))
        executor.execute([np.zeros(3), np.zeros(3)], BatchRecord(size=2))
        assert first.tolist() == [1, 1, 1]

    @pytest.mark.parametrize(
        "run",
        [
            pytest.param(torch.stack, id="a tensor"),
            pytest.param(lambda p: list(torch.stack(p)), id="a list of views"),
            pytest.param(lambda p: [{"row": row} for row in torch.stack(p)], id="dicts of views"),
            pytest.param(lambda p: [(0.5, [row]) for row in torch.stack(p)], id="views in tuples"),
        ],
    )
    def test_a_row_of_a_tensor_has_its_own_bytes(self, run):
        executor = make_executor(run, Placement(), RealClock())
        rows = executor.execute([torch.full((100,), i) for i in range(8)], BatchRecord(size=8))
        row = rows[3]
        row = row["row"] if isinstance(row, dict) else row[1][0] if isinstance(row, tuple) else row
        assert row.tolist() == [3] * 100
        assert row.untyped_storage().nbytes() == row.nbytes == 800

    @pytest.mark.parametrize(
        "run",
        [
            pytest.param(np.stack, id="an array"),
            pytest.param(lambda p: list(np.stack(p)), id="a list of views"),
            pytest.param(
                lambda p: [row.numpy() for row in torch.tensor(np.stack(p))], id="views of a tensor"
            ),
            pytest.param(lambda p: np.array([*np.stack(p), None], object)[:-1], id="objects"),
        ],
    )
    def test_a_row_of_an_array_has_its_own_bytes(self, run):
        executor = make_executor(run, Placement(), RealClock())
        rows = executor.execute([np.full(100, i) for i in range(8)], BatchRecord(size=8))
        assert rows[3].tolist() == [3] * 100
        assert rows[3].base is None

    def test_what_owns_its_bytes_is_handed_out_as_it_is(self):
        results = [torch.zeros(3), np.zeros(3), object()]
        found = checked_results(results, 3)
        assert all(a is b for a, b in zip(found, results, strict=True))

    def test_a_long_list_is_judged_by_its_first_16_items(self):
        view = np.arange(10)[2:4]
        long, short = [0.5] * 16 + [view], [0.5] * 15 + [view]
        assert own(long) is long
        assert own(short)[15].base is None
        assert own([0.5] * 15 + [view, 0.5])[15].base is None

    def test_a_view_of_all_of_an_array_is_handed_out_as_it_is(self):
        array = np.arange(6)
        whole = array.reshape(2, 3)
        assert own(whole) is whole
        assert own(array[:5]).base is None


class Doubles:
    """A model with one method of another kind."""

    name = "doubles"
    uses_torch = False

    def make_input(self, rng):
        return 1.0

    def prepare(self, placement):
        pass

    def collate(self, payloads, staging):
        return Collated(list(payloads))

    def run(self, inputs):
        return inputs

    def split(self, outputs, count):
        return outputs


class AsyncRun(Doubles):
    async def run(self, inputs):
        return inputs


class YieldingSplit(Doubles):
    def split(self, outputs, count):
        yield from outputs


class AsyncCall:
    async def __call__(self, payloads):
        return payloads


async def answers(payloads):
    yield payloads


def yielding(payloads):
    yield from payloads


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (later, "must be a plain function"),
        (AsyncCall(), "must be a plain function"),
        (functools.partial(later), "must be a plain function"),
        (answers, "must be a plain function"),
        (yielding, "got a generator function: collect what it yields"),
        (AsyncRun(), "run of doubles must be a plain function"),
        (YieldingSplit(), "split of doubles must return a sequence"),
        (5, "run must be a Model or a function of a list of payloads, but got int"),
    ],
)
def test_what_a_workers_thread_cannot_call_is_refused_before_anything_is_sent(run, message):
    with pytest.raises(ConfigError, match=message):
        DynamicBatcher(run)
