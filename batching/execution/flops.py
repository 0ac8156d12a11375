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
    attention are counted; element-wise operations, norms and softmax are not. A model that has any
    other operator has no count: what is known of it would be a part of its work.

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
        None for a model that does not use torch, or of which the counter sees only a part.
    """
    if not model.uses_torch:
        return None
    importlib.import_module("torch.utils.flop_counter")  # not at the expense of the budget
    try:
        with _unfused():
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


class _UncountedError(Exception):
    """The model has an operator whose work the counter does not know."""


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

    from batching.execution.staging import HostStaging

    inputs = _on(placement.device, model.collate([payload], HostStaging()).inputs)
    counter = FlopCounterMode(display=False, custom_mapping=_attention_on_cpu())
    with _eagerly(), torch.inference_mode(), _seeing(counter.flop_registry) as seen, counter:
        model.run(inputs)
    if not all(_is_negligible(operator) for operator in seen):
        raise _UncountedError
    by_operator = counter.get_flop_counts().get("Global", {})
    convolutions = sum(n for operator, n in by_operator.items() if "conv" in str(operator))
    return _Counted(counter.get_total_flops(), convolutions)


# Operators that only move, make, gather, pool, normalise or order values, beside those that torch
# itself marks as element-wise or as reductions, and those that return views.
_NEGLIGIBLE_NAMES = (
    "_adaptive_avg_pool2d _adaptive_avg_pool3d _batch_norm_impl_index _batch_norm_no_update "
    "_fused_sdp_choice adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d all aminmax any argmax argmin as_strided_copy _assert_async avg_pool1d "
    "avg_pool2d avg_pool3d batch_norm bernoulli bincount bucketize cat celu channel_shuffle clone "
    "col2im complex constant_pad_nd copy cudnn_batch_norm cummax _cummax_helper cummin "
    "_cummin_helper cumprod cumsum dequantize detach diag_embed elu embedding _embedding_bag "
    "_embedding_bag_forward_only embedding_renorm empty_like equal fill flip full_like "
    "_fused_rms_norm gather gelu glu grid_sampler_2d grid_sampler_3d hardsigmoid hardswish "
    "hardtanh histc im2col index index_add index_copy index_fill index_put index_reduce "
    "index_select is_nonzero isin kthvalue leaky_relu lift_fresh linalg_vector_norm "
    "_local_scalar_dense log_sigmoid_forward _log_softmax logcumsumexp logsumexp masked_fill "
    "masked_scatter masked_select max max_pool2d_with_indices max_pool3d_with_indices mean median "
    "min mish mkldnn_adaptive_avg_pool2d mkldnn_max_pool2d mode multinomial nanmedian "
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
    "native_channel_shuffle native_dropout native_group_norm native_layer_norm new_empty new_full "
    "new_ones new_zeros nonzero nonzero_static norm normal ones_like _pack_padded_sequence "
    "_pad_packed_sequence pixel_shuffle pixel_unshuffle polar _prelu_kernel prod "
    "quantize_per_tensor rand_like randn_like reflection_pad1d reflection_pad2d reflection_pad3d "
    "relu renorm repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d "
    "resize roll rot90 rsub _safe_softmax scatter scatter_add scatter_reduce searchsorted "
    "segment_reduce select_scatter set silu slice_scatter _softmax softplus sort stack std "
    "std_mean sum take threshold _to_copy topk trace tril triu unfold_copy uniform _unique2 "
    "unique_consecutive unique_dim _unsafe_index _unsafe_index_put _unsafe_masked_index "
    "upsample_bicubic2d _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa "
    "upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
    "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d "
    "upsample_trilinear3d var var_mean _weight_norm_interface zero zeros_like"
)
_NEGLIGIBLE = frozenset(_NEGLIGIBLE_NAMES.split())


@contextmanager
def _seeing(counted: Mapping[Any, Any]) -> Iterator[set[Any]]:
    """Which operators run that are not among those counted, but for those that make tensors."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    seen: set[Any] = set()

    class Seeing(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no types for it
        def __torch_dispatch__(
            self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if getattr(operator, "_overloadpacket", operator) not in counted and any(
                isinstance(leaf, torch.Tensor) for leaf in tree_leaves((args, kwargs))
            ):
                seen.add(operator)
            return operator(*args, **(kwargs or {}))

    with Seeing():  # type: ignore[no-untyped-call] # likewise
        yield seen


def _is_negligible(operator: Any) -> bool:
    """Whether an operator that is not counted does next to nothing beside a matrix product."""
    import torch

    schema = getattr(operator, "_schema", None)
    namespace, _, name = getattr(schema, "name", "").partition("::")
    if schema is None or namespace not in ("aten", "prims"):
        return False  # somebody's own
    # Older versions have no mark for reductions: the usual ones are named above.
    marks = {torch.Tag.pointwise, torch.Tag.inplace_view, getattr(torch.Tag, "reduction", None)}
    aliases = [one.alias_info for one in schema.returns if one.alias_info is not None]
    is_view = bool(aliases) and not any(alias.is_write for alias in aliases)
    return bool(marks & set(operator.tags)) or is_view or name.rstrip("_") in _NEGLIGIBLE


@contextmanager
def _unfused() -> Iterator[None]:
    """The layers of an encoder one by one: fused into one operator they are not counted."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


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
