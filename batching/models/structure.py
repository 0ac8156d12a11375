"""Nests of tensors: what models of named or several inputs take, and modules return.

A nest is made of mappings, dataclasses, tuples (named ones too) and lists; its leaves are tensors,
numpy arrays and plain values. torch is not imported here: whoever has a tensor has imported it.
"""

import copy
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from batching.errors import WrongOutputCountError

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)

# Of these nothing is a view; a scalar of a structured or an object array may be one.
PLAIN_TYPES: frozenset[Any] = frozenset({*_PLAIN, *np.sctypeDict.values()}) - {np.void, np.object_}
# A longer list is judged by its first items: an embedding has a thousand numbers.
_LOOKED_THROUGH = 16


class OwnRows(list[Any]):
    """Results in memory that no later batch writes to, so that nobody need copy them."""

    __slots__ = ()


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor."""
    # While another thread imports torch it is there, but not yet its class.
    kind: Any = getattr(sys.modules.get("torch"), "Tensor", ())
    return isinstance(value, kind)


def is_array(value: Any) -> bool:
    """Whether it is a torch tensor or a numpy array."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def each_tensor(value: Any, function: Callable[[Any], Any]) -> Any:
    """The same nest with `function` applied to its tensors; plain values stay as they are."""
    if isinstance(value, _PLAIN):
        return value
    parts = _parts(value)
    if parts is None:
        return function(value)
    return _rebuilt(value, [each_tensor(part, function) for part in parts.values()])


def copied_rows(tensor: Any) -> OwnRows:
    """The rows `[...]` of a tensor or an array `[B, ...]`, each with memory of its own."""
    if not is_tensor(tensor):
        if tensor.ndim == 1 and tensor.dtype.names is None:
            return OwnRows(map(own, tensor) if tensor.dtype == object else tensor)
        return OwnRows(row.copy() for row in tensor)
    torch = sys.modules["torch"]
    if tensor.layout is not torch.strided or tensor.is_nested:
        return OwnRows(tensor.unbind(0))
    return OwnRows(torch.unbind_copy(tensor, 0))


def own(result: Any) -> Any:
    """A result that keeps no more memory alive than its own: views of a batch are copied.

    It looks into dicts, lists and tuples; what is of another class is taken as it is.
    """
    kind = type(result)
    if kind in PLAIN_TYPES:
        return result
    if kind is dict:
        return {key: own(value) for key, value in result.items()}
    if kind is list or kind is tuple:
        plain = PLAIN_TYPES.issuperset(map(type, result[:_LOOKED_THROUGH]))
        return result if plain and len(result) > _LOOKED_THROUGH else kind(map(own, result))
    if isinstance(result, np.ndarray):
        base = result.base
        whole = base is None or (type(base) is np.ndarray and base.nbytes == result.nbytes)
        return result if whole else result.copy()
    if is_tensor(result) and result.layout is sys.modules["torch"].strided:
        try:
            whole = result.untyped_storage().nbytes() <= result.nbytes
        except (RuntimeError, NotImplementedError):  # a subclass that keeps its values elsewhere
            return result
        return result if whole else result.clone()
    return result


def split_outputs(outputs: Any, count: int) -> Sequence[Any]:
    """What a module returned for a batch, as one result for each request, of the same structure.

    - A tensor `[B, ...]`: its rows, which are views of it.
    - A mapping, dataclass, tuple, or list of tensors: one like it for each request, in which each
      tensor `[B, ...]` has become a row. What belongs to no request (None, a number, a string, a
      tensor without dimensions) is given to each.
    - A list of anything else: taken as one result for each request already.

    Raises:
        WrongOutputCountError: a tensor in it does not have the batch as its first dimension, or
            something in it is neither a tensor nor a plain value, or there is nothing but one.
    """
    if type(outputs) is list and not (outputs and all(map(is_array, outputs))):
        return outputs
    if isinstance(outputs, _PLAIN) or (is_array(outputs) and not outputs.ndim):
        raise _refusal("", count, f"a lone {type(outputs).__name__}")
    return OwnRows(_pieces(outputs, count, ""))


def _pieces(value: Any, count: int, path: str) -> list[Any]:
    """One piece for each request."""
    if is_array(value):
        if value.ndim == 0:
            return [value] * count
        if len(value) != count:
            raise _refusal(path, count, f"one of shape {list(value.shape)}")
        return list(value.unbind(0) if is_tensor(value) else value)
    if isinstance(value, _PLAIN):
        return [value] * count
    parts = _parts(value)
    if parts is None:
        raise _refusal(path, count, type(value).__name__)
    if isinstance(value, list) and value and not _has_array(value):
        # One for each request, or all for each? Nothing here says which.
        raise _refusal(path, count, f"a list of {type(value[0]).__name__}")
    if not parts:
        return [value] * count
    columns = [_pieces(part, count, f"{path}[{key!r}]") for key, part in parts.items()]
    return [_rebuilt(value, row) for row in zip(*columns, strict=True)]


def _has_array(value: Any) -> bool:
    return is_array(value) or any(map(_has_array, (_parts(value) or {}).values()))


def _refusal(path: str, count: int, got: str) -> WrongOutputCountError:
    return WrongOutputCountError(
        f"the model's output{path} must be a tensor [{count}, ...], with a row for each request, "
        f"but got {got}: a TorchModel's output=... chooses among several, and a split of its own "
        "may do otherwise"
    )


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """What a nest is made of, by key, field or index; None for a leaf."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", range(len(value)))
        return dict(zip(names, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _rebuilt(value: Any, parts: Sequence[Any]) -> Any:
    """A nest like `value`, of other parts, which are in the order of `_parts`."""
    kind = type(value)
    if isinstance(value, Mapping):
        named = dict(zip(value, parts, strict=True))
        # transformers' ModelOutput is both, and has the keys as attributes.
        return kind(**named) if dataclasses.is_dataclass(kind) else named
    if isinstance(value, (tuple, list)):
        return kind._make(parts) if hasattr(kind, "_make") else kind(parts)
    # Not by its constructor, which may check, or work out, what is true of a whole batch only.
    made = copy.copy(value)
    for field, part in zip(dataclasses.fields(value), parts, strict=True):
        object.__setattr__(made, field.name, part)
    return made
