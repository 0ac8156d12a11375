"""Tensors of a device that is the CPU: every operation on them comes by here."""

import operator
import weakref
from functools import partial

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map

from tests.fake_cuda.device import COPY_S, Block, current_device, current_queue, devices

# The host waits for what these need of the device: their result, or its shape.
_WAITING = {
    "aten::item", "aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero",
    "aten::masked_select", "aten::_unique2", "aten::unique_dim", "aten::nonzero_numpy",
}  # fmt: skip
# Made of others, of which one waits or copies; the rest are run as they are.
_COMPOSED = {"aten::to", "aten::item", "aten::is_nonzero", "aten::type_as", "aten::where"}
_INDEXING = {"aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"}
_RANDOM = ("rand", "normal", "uniform", "bernoulli", "dropout", "multinomial", "exponential")
_ON_ANY = {"aten::copy_", "aten::_to_copy", *_INDEXING}

_pinned = set()


class CudaTensor(torch.Tensor):
    """A tensor that says it is on the device; `inner` is where its values are."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner, block):
        # A view of what was made outside of inference mode may not be made within it.
        with torch.inference_mode(False):
            return torch.Tensor._make_wrapper_subclass(
                cls,
                inner.shape,
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device=torch.device("cuda", block.device.index),
            )

    def __init__(self, inner, block):
        self.inner, self.block = inner, block

    def __repr__(self):
        return f"CudaTensor({self.inner})"

    def data_ptr(self):
        return self.inner.data_ptr()

    # These methods of torch set CUDA's own current device first, which no CPU build can.

    def copy_(self, source, non_blocking=False):
        return torch.ops.aten.copy_(self, source, non_blocking)

    def contiguous(self, memory_format=torch.contiguous_format):
        return torch.ops.aten.contiguous(self, memory_format=memory_format)

    def nonzero(self):
        return torch.ops.aten.nonzero(self)

    def __getitem__(self, index):
        return _python(operator.getitem, self, index)

    def __setitem__(self, index, value):
        _python(operator.setitem, self, index, value)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """One operation with a tensor of the device, or that makes one."""
    name = func._schema.name
    if name in _COMPOSED and func._overloadname != "self":
        found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
    leaves = tree_leaves((args, kwargs))
    ours = [leaf for leaf in leaves if isinstance(leaf, CudaTensor)]
    device = _device_of(ours, leaves)
    if name == "aten::copy_":
        return _copy(device, *args, **kwargs)
    if name == "aten::_to_copy" and kwargs.get("device") is not None:
        return _to_copy(args[0], kwargs)
    _check(name, ours, leaves)
    if name in _WAITING or (name in _INDEXING and _by_mask(args[1])):
        device.synchronised(name)
    if "convolution" in name or name == "aten::conv2d":
        device.convolution(name, tuple(args[0].shape))
    if any(word in name for word in _RANDOM) and kwargs.get("p", 1) and "dropout" not in name:
        device.random()
    inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
    to_host = getattr(kwargs.get("device"), "type", "cuda") == "cpu"
    compute = partial(_compute, device, func, inner_args, inner_kwargs, ours, to_host=to_host)
    return device.kernel(compute)


def _python(func, tensor, index, *value):
    """Indexing, which torch does in several operations."""
    ours = [leaf for leaf in tree_leaves((tensor, index, value)) if isinstance(leaf, CudaTensor)]
    device = tensor.block.device
    if _by_mask(tree_leaves(index)):
        device.synchronised("indexing by a mask")
    args = tree_map(_inner, (tensor, index, *value))
    return device.kernel(partial(_compute, device, func, args, {}, ours, to_host=False))


def _compute(device, func, args, kwargs, ours, *, to_host):
    found = func(*args, **kwargs)
    graph = device.capturing()
    kept = [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
    known = {leaf.inner.untyped_storage().data_ptr(): leaf for leaf in ours}
    if graph is not None:
        graph.operations.append(partial(_again, func, args, kwargs, kept))
        graph.outputs += [one for one in kept if one.untyped_storage().data_ptr() not in known]

    def wrap(leaf):
        if not isinstance(leaf, torch.Tensor) or to_host:
            return leaf
        same = next((one for one in ours if one.inner is leaf), None)
        if same is not None:
            return same
        storage = leaf.untyped_storage()
        owner = known.get(storage.data_ptr()) if storage.nbytes() else None
        block = Block(device, storage.nbytes()) if owner is None else owner.block
        return CudaTensor(leaf, block)

    return tree_map(wrap, found)


def _again(func, args, kwargs, kept):
    """One operation of a graph that is replayed, into where its results were captured."""
    fresh = [x for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, torch.Tensor)]
    for one, other in zip(kept, fresh, strict=True):
        if one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr():
            one.copy_(other)


def _copy(device, target, source, non_blocking=False):
    """To the device, from it, or on it; the host waits unless one side is page-locked."""
    there, here = isinstance(target, CudaTensor), isinstance(source, CudaTensor)
    if there and here:
        device.kernel(partial(_move, device, target.inner, source.inner))
        graph = device.capturing()
        if graph is not None:
            graph.operations.append(partial(_move, device, target.inner, source.inner))
        return target
    move = partial(_move, device, _inner(target), _inner(source))
    if non_blocking and is_pinned(source if there else target):
        current_queue(device).put(move)
    else:
        device.synchronised("copy to the device" if there else "copy to the host")
        move()
    return target


def _move(device, target, source):
    device.clock_s += COPY_S
    with torch.inference_mode():
        target.copy_(source)


def _to_copy(source, kwargs):
    """`to` another device: new memory there, and a copy."""
    options = {"dtype": kwargs.get("dtype") or source.dtype, "device": kwargs["device"]}
    layout = kwargs.get("memory_format")
    if layout in (None, torch.preserve_format):
        target = torch.empty_strided(source.shape, source.stride(), **options)
    else:
        target = torch.empty(source.shape, memory_format=layout, **options)
    return target.copy_(source, non_blocking=kwargs.get("non_blocking", False))


def _check(name, ours, leaves):
    """Tensors of the host may not meet tensors of the device, single numbers apart."""
    strangers = [
        leaf for leaf in leaves
        if isinstance(leaf, torch.Tensor) and not isinstance(leaf, CudaTensor) and leaf.dim()
    ]  # fmt: skip
    if ours and strangers and name not in _ON_ANY:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found cuda and cpu, in {name}"
        )


def _by_mask(indices):
    return any(
        isinstance(i, torch.Tensor) and i.dtype in {torch.bool, torch.uint8} for i in indices
    )


def _device_of(ours, leaves):
    if ours:
        return ours[0].block.device
    asked = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    if asked is None:
        raise RuntimeError(
            "a tensor says it is on the stand-in's device, but is not the stand-in's"
        )
    return current_device() if asked.index is None else devices[asked.index]


def _inner(value):
    if isinstance(value, CudaTensor):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) else value


def is_pinned(tensor, device=None):
    """torch.Tensor.is_pinned."""
    return not tensor.is_cuda and tensor.untyped_storage().data_ptr() in _pinned


def pinned(real):
    """torch.empty and its kin, which take `pin_memory`."""

    def made(*args, pin_memory=False, **kwargs):
        plain = real(*args, **kwargs)
        return pin(plain) if pin_memory else plain

    return made


def pin(tensor, device=None):
    """torch.Tensor.pin_memory: a page-locked copy of its values, laid out as it is."""
    current_device().pinned_blocks += 1
    room = np.empty(max(1, tensor.untyped_storage().nbytes()), np.uint8)
    flat = torch.from_numpy(room)[: tensor.untyped_storage().nbytes()].view(tensor.dtype)
    found = (
        flat.as_strided(tensor.shape, tensor.stride())
        if tensor.numel()
        else flat.view(tensor.shape)
    )
    pointer = found.untyped_storage().data_ptr()
    _pinned.add(pointer)
    weakref.finalize(room, _pinned.discard, pointer)
    return found.copy_(tensor)
