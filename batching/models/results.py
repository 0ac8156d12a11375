"""What a model returned for a batch, checked as a whole before anything is handed out."""

import dataclasses
from collections import UserString
from collections.abc import Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from batching.errors import WrongOutputCountError, describe
from batching.models.structure import PLAIN_TYPES, OwnRows, copied_rows, is_array, own


def checked_results(results: Any, count: int, *, of_function: bool = False) -> list[Any]:
    """The results of a batch as a list of `count`, in order.

    Those of a function or a model of the user's own are copied where they are views: it may write
    its next batch into the same memory, while their callers still read them.

    A list, a tuple, the rows of a tensor, array or Series, and any other sequence will do. It is
    iterated here, so that what fails at that fails before the first request has its result.

    Args:
        results: what the model returned.
        count: how many requests were in the batch.
        of_function: a plain function returned it: a tuple of arrays or lists may as well be two
            columns as two results, and is refused.

    Raises:
        WrongOutputCountError: it is no sequence, has no order, is made of columns, has not
            `count` results, or raised when it was iterated, which is then the cause.
    """
    found = results
    if type(results) is OwnRows and len(results) == count:
        return results
    if type(results) is not list or len(results) != count:
        if is_array(results) and results.ndim and len(results) == count:
            return copied_rows(results)
        _refuse_what_is_no_sequence(results, count, of_function)
        found = _iterated(results, count)
    return found if PLAIN_TYPES.issuperset(map(type, found)) else list(map(own, found))


_NAMES = "which has names in place of an order"
_FIELDS = "whose fields are columns"
_OF_KIND: tuple[tuple[tuple[type, ...], str], ...] = (
    ((str, UserString, bytes, bytearray, memoryview), "which is one value"),
    ((AbstractSet,), "which has no order"),
    ((Mapping, MappingView), _NAMES),
)


def _refuse_what_is_no_sequence(results: Any, count: int, of_function: bool) -> None:
    got = None if type(results) in {list, tuple} else _why_not(results)
    if got is None and of_function and isinstance(results, tuple) and any(map(_holds, results)):
        got = "a tuple of arrays, lists or tuples, which may be columns: return a list"
    if got is None:
        return
    if hasattr(results, "__await__") and hasattr(results, "close"):
        results.close()  # else Python warns, somewhere else, that it was never awaited
    raise WrongOutputCountError(
        f"the model must return a sequence of {count} results, one for each request in order, "
        f"but got {got}"
    )


def _iterated(results: Any, count: int) -> list[Any]:
    """Its items, of which there are `count`."""
    try:
        length = len(results)
        # One too many at most: it may have no end.
        found = list(islice(iter(results), count + 1)) if length == count else []
    except (Exception, SystemExit) as error:  # it may be of the user's own class
        raise WrongOutputCountError(
            f"the model must return a sequence of {count} results, but the "
            f"{type(results).__name__} that it returned raised {describe(error)}"
        ) from error
    if length != count:
        raise WrongOutputCountError(f"the model must return {count} results, but got {length}")
    if len(found) != count:
        gave = f"{count + 1} or more" if len(found) > count else len(found)
        raise WrongOutputCountError(
            f"the model must return {count} results, but got {gave} by iterating a "
            f"{type(results).__name__} of length {count}"
        )
    return found


def _why_not(results: Any) -> str | None:
    """What it is in place of a sequence of results; None if it may be one."""
    kind = type(results)
    why = next((why for kinds, why in _OF_KIND if isinstance(results, kinds)), None)
    if why is None:
        why = _why_not_tuple(kind) if isinstance(results, tuple) else _why_not_by_methods(results)
    if results is None:
        return "None"
    article = "an" if kind.__name__[:1] in "aeiouAEIOU" else "a"
    return None if why is None else f"{article} {kind.__name__}, {why}"


def _why_not_tuple(kind: type) -> str | None:
    # torch.return_types, like every struct sequence of C, have n_fields.
    return _FIELDS if hasattr(kind, "_fields") or hasattr(kind, "n_fields") else None


def _why_not_by_methods(results: Any) -> str | None:
    kind = type(results)
    if hasattr(kind, "__await__"):
        return "which must be awaited, in a loop that a worker's thread does not have"
    if hasattr(kind, "columns"):  # of pandas, polars, pyarrow and their like
        return "which is made of columns"
    if dataclasses.is_dataclass(kind) and not isinstance(results, Sequence):
        return _FIELDS
    if getattr(results, "ndim", None) == 0:
        return "which has no dimensions"
    if not hasattr(kind, "__len__"):
        return "which has no length"
    if not hasattr(kind, "__getitem__"):
        return "which has no order"
    # A pandas Series has keys too, and an order all the same.
    return _NAMES if hasattr(kind, "keys") and not hasattr(kind, "iloc") else None


def _holds(item: Any) -> bool:
    """Whether it holds several values, so that it may be a column of a batch."""
    return isinstance(item, (list, tuple)) or getattr(item, "ndim", 0) > 0
