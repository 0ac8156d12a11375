"""How many floating-point operations one request takes, by torch's own counter."""

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from batching.clock import Clock
from batching.models.contract import Model, Placement


@dataclass(frozen=True, slots=True)
class FlopCount:
    """The work of a request, as `torch.utils.flop_counter` counts it.

    A multiplication and an addition count as two operations. Matrix products, convolutions and
    attention are counted; element-wise operations, norms and softmax are not.

    Attributes:
        per_request: operations of one request alone, unpadded; the mean over those counted.
        requests: how many that is the mean of.
        convolution_share: the share of them that is convolutions.
    """

    per_request: float
    requests: int
    convolution_share: float


def count_flops(
    model: Model,
    placement: Placement,
    payloads: Sequence[Any],
    clock: Clock,
    *,
    budget_s: float = 1.0,
) -> FlopCount | None:
    """Count the operations of requests that are run one by one; the model is prepared.

    Requests of one shape are run once. Of sequences of more than three lengths the shortest, a
    middle one and the longest are run: the operations of a transformer, as of most models, are a
    polynomial of the second degree in the length (attention is quadratic, all else is linear or
    constant), which three values determine. Of other shapes those that the budget does not hold
    are left out; as the order of payloads is random, the mean of the others stands for them.

    Returns:
        None for a model that does not use torch, or that the counter cannot follow.
    """
    if not model.uses_torch:
        return None
    importlib.import_module("torch.utils.flop_counter")  # not at the expense of the budget
    try:
        counts = _by_length(model, placement, payloads) or _by_shape(
            model, placement, payloads, clock, budget_s
        )
    except Exception:  # noqa: BLE001 - what a model raises under the counter is its own
        return None
    total = sum(count.total for count in counts)
    if not total:
        return None
    convolutions = sum(count.convolutions for count in counts)
    return FlopCount(total / len(counts), len(counts), convolutions / total)


@dataclass(frozen=True, slots=True)
class _Counted:
    total: float
    convolutions: float


def _by_shape(
    model: Model, placement: Placement, payloads: Sequence[Any], clock: Clock, budget_s: float
) -> list[_Counted]:
    """Each request's count, up to the first that does not fit the budget."""
    known: dict[Any, _Counted] = {}
    counts: list[_Counted] = []
    began_s = clock.now()
    for payload in payloads:
        shape = _shape(payload)
        if shape not in known:
            if counts and clock.now() - began_s > budget_s:
                break
            known[shape] = _count(model, placement, payload)
        counts.append(known[shape])
    return counts


def _by_length(model: Model, placement: Placement, payloads: Sequence[Any]) -> list[_Counted]:
    """Each sequence's count, from those of three lengths; empty for what is no set of sequences."""
    if any(getattr(payload, "ndim", 0) != 1 for payload in payloads):
        return []
    of_length = {len(payload): payload for payload in payloads}
    lengths = sorted(of_length)
    if len(lengths) <= 3:
        return []
    chosen = (lengths[0], lengths[len(lengths) // 2], lengths[-1])
    found = [_count(model, placement, of_length[length]) for length in chosen]
    totals, convolutions = [c.total for c in found], [c.convolutions for c in found]
    return [
        _Counted(_through(chosen, totals, len(p)), _through(chosen, convolutions, len(p)))
        for p in payloads
    ]


def _through(xs: Sequence[int], ys: Sequence[float], x: int) -> float:
    """The value at x of the parabola through three points (Lagrange)."""
    (a, b, c), (at_a, at_b, at_c) = xs, ys
    return (
        at_a * (x - b) * (x - c) / ((a - b) * (a - c))
        + at_b * (x - a) * (x - c) / ((b - a) * (b - c))
        + at_c * (x - a) * (x - b) / ((c - a) * (c - b))
    )


def _count(model: Model, placement: Placement, payload: Any) -> _Counted:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from batching.staging import HostStaging

    inputs = _on(placement.device, model.collate([payload], HostStaging()).inputs)
    counter = FlopCounterMode(display=False, custom_mapping=_attention_on_cpu())
    with _eagerly(), torch.inference_mode(), counter:
        model.run(inputs)
    by_operator = counter.get_flop_counts().get("Global", {})
    convolutions = sum(n for operator, n in by_operator.items() if "conv" in str(operator))
    return _Counted(counter.get_total_flops(), convolutions)


@contextmanager
def _eagerly() -> Iterator[None]:
    """A compiled model runs kernels of its own making, in which the counter sees nothing."""
    if "torch._dynamo" not in sys.modules:
        yield  # nothing here was compiled, and asking for it would import the compiler
        return
    import torch

    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
        warnings.simplefilter("ignore")  # that the counter's hooks see a compiled module twice
        yield


def _attention_on_cpu() -> dict[Any, Any]:
    """The operator that torch's counter leaves out: fused attention on the CPU."""
    import torch
    from torch.utils.flop_counter import flop_registry, sdpa_flop_count

    operator = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if operator is None or operator in flop_registry:
        return {}

    def flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        count: Callable[[Any, Any, Any], int] = sdpa_flop_count
        return count(query, key, value)

    return {operator: flops}


def _shape(payload: Any) -> Any:
    shape = getattr(payload, "shape", None)
    return object() if shape is None else (tuple(shape), str(getattr(payload, "dtype", "")))


def _on(device: str, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _on(device, value) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(_on(device, value) for value in inputs)
    return inputs.to(device) if hasattr(inputs, "to") else inputs
