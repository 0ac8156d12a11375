"""What a torch module may take and return: any nest of tensors, split along the batch."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from batching import BatchExecutionError, DynamicBatcher, ModelError, RealClock
from batching.errors import WrongOutputCountError
from batching.execution.choose import make_executor
from batching.models import Collated, Placement, load_model
from batching.models.collation import Padding, PayloadError
from batching.models.torch_model import TorchModel
from batching.request import BatchRecord

ON_CPU = Placement()


class Returns(torch.nn.Module):
    """Makes something of its input `[B, 3]`."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


class Takes(torch.nn.Module):
    """Calls a function with whatever it is given."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs, **named):
        return self.function(*inputs, **named)


class Named(NamedTuple):
    score: Any
    index: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    score: Any
    note: Any = None
    count: int = dataclasses.field(default=0, init=False)

    def __post_init__(self):
        assert self.score.dim() == 2, "a check that is true of a whole batch only"


def executed(model, payloads, placement=ON_CPU):
    executor = make_executor(model, placement, RealClock())
    batch = BatchRecord(size=len(payloads))
    return executor.execute(payloads, batch), batch


def split(make, count=2, **options):
    """What each of `count` requests gets; the input of request i is [i, i, i]."""
    model = TorchModel(lambda: Returns(make), lambda rng: torch.zeros(3), name="m", **options)
    rows, _ = executed(model, [torch.full((3,), float(i)) for i in range(count)])
    return rows


def plain(value):
    """The nest with lists in place of tensors."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return value


ONES = [1.0, 1.0, 1.0]
NESTS = [
    ("a tensor", lambda x: x, ONES),
    ("a dict", lambda x: {"out": x, "aux": x + 1}, {"out": ONES, "aux": [2.0] * 3}),
    ("a pair", lambda x: (x, x.argmax(1)), [ONES, 0]),
    ("a list of tensors", lambda x: [x, x + 1, x + 2], [ONES, [2.0] * 3, [3.0] * 3]),
    ("as many levels as requests", lambda x: [x, x + 1], [ONES, [2.0] * 3]),
    ("a nest", lambda x: {"a": ({"b": x}, [x])}, {"a": [{"b": ONES}, [ONES]]}),
    ("what belongs to no request", lambda x: (x, None, 7, "v1", x.sum()), [ONES, None, 7, "v1", 3]),
    ("arrays", lambda x: {"out": x.numpy()}, {"out": ONES}),
    (
        "detections",
        lambda x: [{"boxes": row[None].repeat(5, 1)} for row in x],
        {"boxes": [ONES] * 5},
    ),
    ("texts", lambda x: [f"text {row[0]:g}" for row in x], "text 1"),
]


class TestOutputs:
    @pytest.mark.parametrize(("make", "second"), [n[1:] for n in NESTS], ids=[n[0] for n in NESTS])
    def test_each_request_gets_its_own_piece_of_every_output(self, make, second):
        assert plain(split(make)[1]) == second

    def test_a_piece_is_of_the_class_of_the_whole(self):
        [_, named] = split(lambda x: Named(x, x.argmax(1)))
        assert plain((named.score, named.index)) == [ONES, 0]
        [_, frozen] = split(Frozen)
        assert (plain(frozen.score), frozen.note, frozen.count) == (ONES, None, 0)
        [_, record] = split(lambda x: SequenceClassifierOutput(logits=x, hidden_states=(x, x)))
        assert plain(record.logits) == plain(record["logits"]) == ONES
        assert plain(record.hidden_states) == [ONES, ONES]
        [_, best] = split(lambda x: (x + torch.tensor([0, 2, 1])).max(dim=1))
        assert (best.values.item(), best.indices.item()) == (3, 1)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda x: x[:1],
                r"output must be a tensor \[2, ...\].* but got one of shape \[1, 3\]",
            ),
            (lambda x: {"a": (x, x.T)}, r"output\['a'\]\[1\] must .* one of shape \[3, 2\]"),
            (lambda x: x.sum(), "got a lone Tensor"),
            (lambda x: None, "got a lone NoneType"),
            (lambda x: {"cache": object(), "x": x}, r"output\['cache'\] must .* but got object"),
            (lambda x: {"labels": ["cat", "dog"]}, r"\['labels'\] must .* but got a list of str"),
            (lambda x: [{"boxes": x}], "must return 2 results, but got 1"),
            (lambda x: [], "must return 2 results, but got 0"),
        ],
    )
    def test_what_has_no_row_for_each_request_is_refused(self, make, message):
        with pytest.raises(WrongOutputCountError, match=message):
            split(make)

    def test_one_output_of_several_may_be_the_result(self):
        assert plain(split(lambda x: {"a": x, "values": x + 1}, output="values")[1]) == [2.0] * 3
        assert plain(split(lambda x: (x, x + 1), output=1)[1]) == [2.0] * 3
        assert plain(split(Frozen, output="score")[1]) == ONES
        record = lambda x: SequenceClassifierOutput(loss=x.sum(), logits=x)  # noqa: E731 - short
        assert plain(split(record, output="logits")[1]) == ONES

    @pytest.mark.parametrize("output", ["nothing", 2, -3])
    def test_an_output_that_is_not_there_is_named(self, output):
        for make in (lambda x: (x, x), lambda x: {"a": x}, lambda x: x):
            with pytest.raises(WrongOutputCountError, match=f"but got {output!r} and "):
                split(make, output=output)

    def test_a_built_in_transformers_model_gives_its_logits(self):
        model = load_model("bert-base", clock=RealClock())
        model._build = lambda: Takes(
            lambda **named: SequenceClassifierOutput(
                logits=named["attention_mask"].sum(1, keepdim=True)
            )
        )
        rows, _ = executed(model, [torch.ones(5, dtype=int), torch.ones(2, dtype=int)])
        assert plain(rows) == [[5], [2]]


def taking(function, **options):
    return TorchModel(lambda: Takes(function), lambda rng: torch.zeros(3), name="m", **options)


class TestPayloads:
    @pytest.mark.parametrize(
        "payload",
        [
            torch.ones(3),
            np.ones(3, dtype=np.float32),
            np.ones(6, dtype=np.float32)[::-2],
            np.frombuffer(np.ones(3, dtype=np.float32).tobytes(), np.float32),
            np.ones(3, dtype=">f4"),
            np.ones(3),
        ],
        ids=["tensor", "array", "backwards", "read-only", "foreign byte order", "double"],
    )
    def test_tensors_and_arrays_of_any_make_are_stacked(self, payload):
        rows, _ = executed(taking(lambda x: x * 2), [payload, payload])
        assert plain(rows) == [[2.0] * 3] * 2
        assert rows[0].dtype == torch.float32  # the model's, whatever the payload's

    @pytest.mark.parametrize(
        ("payloads", "results"),
        [([1.5, 2.5], [3.0, 5.0]), ([1, 2], [2, 4]), ([np.int64(1), np.int64(2)], [2, 4])],
    )
    def test_numbers_are_a_batch_without_further_dimensions(self, payloads, results):
        assert plain(executed(taking(lambda x: x * 2), payloads)[0]) == results

    def test_a_dict_is_the_modules_keywords_and_a_tuple_its_arguments(self):
        model = taking(lambda a, b: a + b["c"])
        rows, _ = executed(model, [{"a": 1.0, "b": {"c": 2.0 * i}} for i in range(2)])
        assert plain(rows) == [1.0, 3.0]
        rows, _ = executed(taking(lambda a, b: a - b), [(5, np.array(3)), (7, np.array(3))])
        assert plain(rows) == [2, 4]

    def test_named_inputs_are_cast_to_the_models_number_format(self):
        seen = {}
        model = taking(lambda x, ids: seen.update(x=x.dtype, ids=ids.dtype) or x)
        executed(model, [{"x": np.ones(2), "ids": np.array([3])}], Placement("cpu", "bf16"))
        assert seen == {"x": torch.bfloat16, "ids": torch.int64}

    @pytest.mark.parametrize("payload", ["text", [1.0, 2.0], None, np.array(["a"]), object()])
    def test_anything_else_fails_by_itself_and_says_what_is_taken(self, payload):
        model = taking(lambda x: x)
        with DynamicBatcher(model, max_batch_size=2, batch_timeout_ms=0, device="cpu") as batcher:
            other, bad = batcher.submit(torch.ones(3)), batcher.submit(payload)
            assert plain(other.result(20)) == ONES
            with pytest.raises(BatchExecutionError, match="payload must be") as caught:
                bad.result(20)
        assert isinstance(caught.value.__cause__, PayloadError)

    @pytest.mark.parametrize(
        ("a", "b", "together"),
        [
            (torch.ones(3), torch.zeros(3), True),
            (torch.ones(3), torch.ones(4), False),
            (torch.ones(3), torch.ones(3).half(), False),
            (np.ones(3), np.zeros(3), True),
            ({"a": 1.0, "b": np.ones(2)}, {"b": np.zeros(2), "a": 2.0}, True),
            ({"a": 1.0}, {"b": 1.0}, False),
            ({"a": 1.0}, {"a": 1.0, "b": 1.0}, False),
            ({"a": np.ones(2)}, {"a": np.ones(3)}, False),
            ((1.0, 2.0), (1.0, 2.0, 3.0), False),
            (1, 2.0, False),
            ("text", torch.ones(3), False),
        ],
    )
    def test_what_cannot_be_stacked_never_shares_a_batch(self, a, b, together):
        model = taking(lambda x: x)
        assert (model.lane_key(a) == model.lane_key(b)) is together
        hash(model.lane_key(a))


class TestPadding:
    def test_inputs_of_different_length_share_a_batch_with_a_mask(self):
        seen = {}
        model = taking(
            lambda ids, kinds, mask, scale: (
                seen.update(ids=ids.tolist(), kinds=kinds.tolist(), mask=mask.tolist())
                or {"sum": (ids * mask).sum(1) * scale}
            ),
            padding=Padding({"ids": 9, "kinds": 1}, mask="mask"),
        )
        payloads = [
            {"ids": np.array([1, 2, 3]), "kinds": np.array([0, 0, 0]), "scale": 1},
            {"ids": np.array([5]), "kinds": np.array([0]), "scale": 2},
        ]
        assert model.lane_key(payloads[0]) == model.lane_key(payloads[1])
        rows, batch = executed(model, payloads)
        assert plain(rows) == [{"sum": 6}, {"sum": 10}]
        assert seen["ids"] == [[1, 2, 3], [5, 9, 9]]
        assert seen["kinds"] == [[0, 0, 0], [0, 1, 1]]
        assert seen["mask"] == [[1, 1, 1], [1, 0, 0]]
        assert (batch.real_elements, batch.padded_elements) == (4, 6)

    def test_a_mask_that_comes_with_the_payload_is_padded_with_nothing(self):
        model = taking(
            lambda ids, mask: (ids * mask).sum(1), padding=Padding({"ids": 9}, mask="mask")
        )
        payloads = [
            {"ids": np.array([1, 2]), "mask": np.array([0, 1])},
            {"ids": np.array([5]), "mask": np.array([1])},
        ]
        assert plain(executed(model, payloads)[0]) == [2, 5]

    def test_a_lone_input_has_its_mask_as_the_next_argument(self):
        model = taking(lambda x, mask: (x * mask[..., None]).sum(1), padding=Padding(7, mask="m"))
        frames = [torch.ones(4, 2), torch.ones(1, 2)]
        assert plain(executed(model, frames)[0]) == [[4.0, 4.0], [1.0, 1.0]]
        without = taking(lambda x: x.sum(1), padding=Padding(7.0))
        assert plain(executed(without, [torch.ones(3), torch.ones(1)])[0]) == [3.0, 15.0]

    def test_only_lengths_may_differ(self):
        model = taking(lambda x: x, padding=Padding())
        assert model.lane_key(torch.ones(4, 2)) != model.lane_key(torch.ones(4, 3))
        assert model.lane_key(torch.ones(4)) != model.lane_key(torch.ones(4).half())
        named = taking(lambda x: x, padding=Padding({"ids": 0}))
        assert named.lane_key({"ids": np.ones(3), "x": np.ones(2)}) != named.lane_key(
            {"ids": np.ones(3), "x": np.ones(3)}
        )

    def test_the_batcher_puts_different_lengths_into_one_batch(self):
        sizes = []
        model = taking(lambda x: sizes.append(tuple(x.shape)) or x.sum(1), padding=Padding())
        with DynamicBatcher(
            model, max_batch_size=3, batch_timeout_ms=2000, device="cpu", warm_up_budget_s=0
        ) as batcher:
            requests = [batcher.submit(torch.ones(n)) for n in (1, 4, 2)]
            assert [request.result(20).item() for request in requests] == [1, 4, 2]
        assert sizes == [(3, 4)]


class TestOwnCollation:
    def test_payloads_of_any_kind_become_what_it_makes_of_them(self):
        def collate(texts):
            return torch.tensor([[len(text)] for text in texts])

        model = taking(lambda x: x * 2, collate=collate)
        assert plain(executed(model, ["a", "four"])[0]) == [[2], [8]]
        assert model.lane_key("a") == model.lane_key(5)

    def test_it_may_say_what_it_padded(self):
        model = taking(lambda x: x, collate=lambda p: Collated(torch.ones(2, 3), 4, 6))
        _, batch = executed(model, ["a", "b"])
        assert (batch.real_elements, batch.padded_elements) == (4, 6)

    def test_it_goes_without_padding(self):
        with pytest.raises(ModelError, match="padding must be left to collate"):
            taking(lambda x: x, collate=list, padding=Padding())


class TestBuilding:
    def test_what_build_raises_is_told_with_file_and_line_of_the_users_code(self):
        def build():
            return torch.nn.Linear(4, "three\nfour")

        model = TorchModel(build, lambda rng: torch.zeros(4), name="mine")
        with pytest.raises(ModelError, match="mine cannot be built: TypeError: ") as caught:
            model.prepare(ON_CPU)
        line = build.__code__.co_firstlineno + 1
        assert str(caught.value).endswith(f"({__file__}, line {line})")
        assert "\n" not in str(caught.value)

    def test_what_is_no_module_is_refused(self):
        model = TorchModel(lambda: torch.nn.Linear, lambda rng: torch.zeros(4), name="mine")
        with pytest.raises(ModelError, match=r"must return a torch\.nn\.Module, but got type"):
            model.prepare(ON_CPU)


@pytest.mark.parametrize("output", [None, "logits"])
def test_a_compiled_module_gives_what_it_gives_without(output):
    def build():
        return Returns(lambda x: SequenceClassifierOutput(logits=x * 2, hidden_states=(x,)))

    model = TorchModel(build, lambda rng: torch.ones(3), name="m", compiler="eager", output=output)
    rows, _ = executed(model, [torch.ones(3)] * 3, Placement("cpu", "fp32", "compile"))
    assert plain(rows[1] if output else rows[1].logits) == [2.0] * 3
