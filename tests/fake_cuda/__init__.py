"""A CUDA stand-in: torch on a CPU believes that it has an H200, with CUDA's rules.

Operations on the device's tensors run on the CPU, so results are right; what CUDA forbids is
forbidden, and what is copied without being waited for is copied late. In CI the tests marked gpu
run on it (tests/conftest.py), and so does any program, with whatever it starts:

    python -m tests.fake_cuda COMMAND ...      python -m tests.fake_cuda tests/reference --device cuda

which sets PYTHONPATH so that `site/sitecustomize.py` calls `install`. DYNBATCH_FAKE_CUDA=refusing
gives a machine whose NVML does not answer.

Its rules:
- 32 streams a device, handed out in turn; the 33rd is the first. See `device` for what is late.
- Waiting for the device, `.item()` and emptying the cache end a capture with an error. A refused
  capture leaves torch as its version does (`refused_like`): before 2.13 the allocator goes on as if
  within it, and random numbers fail until a capture succeeds.
- `host_syncs` says how often the host has waited, and why.
- A convolution of a shape that its thread has not met is `cold`.
- Tensors of the host and the device do not mix; host memory that is not page-locked is waited for.
- Graphs' memory is theirs until the last of a pool is gone.

What is not CUDA's: time on the device is counted, a fixed cost each; `torch.compile` leaves models
as they are; the built-in models keep their architecture, with fewer and narrower layers and
smaller images.
"""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import torch

from tests.fake_cuda import device, nvml, tensor
from tests.fake_cuda.profiler import profile

UUID = "7b3f0000-0000-0000-0000-000000000000"
_ABSENT = object()
# Made of `empty` and an operation that gives it its size, which a tensor of ours cannot take later.
_FACTORIES = ("arange", "arange.start", "arange.start_step", "linspace", "eye", "randperm")
_SIDE = 64
_libraries = []
_replaced = []


def install(*, count=1, driver="answers", small=True):
    """Make `count` GPUs, and put them in torch's and NVML's place; returns the first.

    Args:
        count: how many.
        driver: "answers", or "refusing" for an NVML that does not.
        small: whether the built-in models are made smaller.
    """
    _register()
    made = device.devices
    # A program keeps streams and tensors of a device, so that it stays the same one.
    made += [device.Device(index) for index in range(len(made), count)]
    for one in made:
        one.begin()
    for owner, name, value in [*_of_torch(count), *(_of_models() if small else ())]:
        _replace(owner, name, value)
    fails = None if driver == "answers" else nvml.refusing()
    gpus = {f"GPU-{UUID[:-1]}{index}": nvml.h200() for index in range(count)}
    _replaced.append((sys.modules, "pynvml", sys.modules.get("pynvml", _ABSENT)))
    sys.modules["pynvml"] = nvml.FakeNvml(gpus, fails=fails)
    return made[0]


def uninstall():
    """Put everything back."""
    while _replaced:
        owner, name, value = _replaced.pop()
        if isinstance(owner, dict):
            owner.pop(name) if value is _ABSENT else owner.__setitem__(name, value)
        elif value is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, value)


def is_installed():
    return bool(_replaced)


@contextmanager
def installed(**how):
    """The first of the GPUs of `install`, for a while."""
    made = install(**how)
    try:
        yield made
    finally:
        uninstall()


def _replace(owner, name, value):
    _replaced.append((owner, name, vars(owner).get(name, _ABSENT)))
    setattr(owner, name, value)


def _register():
    """Operations that have no tensor yet come by here; once a process, since it cannot be undone."""
    if _libraries:
        return
    every = torch.library.Library("_", "IMPL")
    every.fallback(lambda op, *args, **kwargs: tensor.run(op, args, kwargs), "CUDA")
    some = torch.library.Library("aten", "IMPL")
    for name in _FACTORIES:
        base, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, base), overload or "default")
        some.impl(name, lambda *args, op=op, **kwargs: tensor.run(op, args, kwargs), "CUDA")
    _libraries.extend((every, some))


def _on(asked=None):
    index = (
        None if asked is None else torch.device(asked).index if isinstance(asked, str) else asked
    )
    index = getattr(index, "index", index)
    return device.current_device() if index is None else device.devices[index]


def _of_torch(count):
    cuda, c, real_compile = torch.cuda, torch._C, torch.compile

    def mine(*tensors):
        return any(isinstance(one, tensor.CudaTensor) for one in tensors)

    def set_stream(stream):
        queues = getattr(device._here, "queues", {})
        device._here.queues = queues | {stream.device_index: stream.queue}

    def compiled(model=None, **options):
        return model if mine(*model.parameters()) else real_compile(model, **options)

    def properties(asked=None):
        on = _on(asked)
        return SimpleNamespace(
            name="NVIDIA H200", uuid=f"{UUID[:-1]}{on.index}", major=9, minor=0,
            multi_processor_count=132, total_memory=on.total_bytes,
        )  # fmt: skip

    def is_capturing():
        return device.current_device().capturing() is not None

    yield from (
        (cuda, "is_available", lambda: True),
        (cuda, "device_count", lambda: count),
        (cuda, "_lazy_init", lambda: None),
        (cuda, "is_initialized", lambda: True),
        (cuda, "current_device", lambda: device.current_device().index),
        (cuda, "_exchange_device", device.exchange_device),
        (cuda, "_maybe_exchange_device", device.exchange_device),
        (cuda, "get_device_properties", properties),
        (cuda, "get_device_name", lambda asked=None: properties(asked).name),
        (cuda, "get_device_capability", lambda asked=None: (9, 0)),
        (cuda, "Stream", device.Stream),
        (cuda, "Event", device.Event),
        (cuda, "CUDAGraph", device.CUDAGraph),
        (cuda, "graph_pool_handle", device.graph_pool_handle),
        (cuda, "current_stream", lambda asked=None: _stream(_on(asked), own=True)),
        (cuda, "default_stream", lambda asked=None: _stream(_on(asked), own=False)),
        (cuda, "set_stream", set_stream),
        (cuda, "is_current_stream_capturing", is_capturing),
        (cuda, "synchronize", lambda asked=None: _on(asked).synchronised("device", whole=True)),
        (cuda, "_sleep", device.sleep),
        (cuda, "empty_cache", lambda: [one.empty_cache() for one in device.devices]),
        (cuda, "mem_get_info", lambda asked=None: (_on(asked).free_bytes(), _on(asked).total_bytes)),
        (cuda, "memory_allocated", lambda asked=None: _on(asked).live),
        (cuda, "max_memory_allocated", lambda asked=None: _on(asked).peak),
        (cuda, "memory_reserved", lambda asked=None: _on(asked).reserved),
        (cuda, "reset_peak_memory_stats", lambda asked=None: _on(asked).forget_peak()),
        (cuda, "memory_snapshot", lambda pool=None: [s for d in device.devices for s in d.snapshot()]),
        (c, "_host_emptyCache", lambda: None),
        (c, "_cuda_endAllocateToPool", lambda index, pool: _on(index).end_allocate(pool)),
        (c, "_cuda_releasePool", lambda index, pool: _on(index).release(pool)),
        (torch, "compile", compiled),
        # A module's parameters are new ones after `to`: torch would else move ours into theirs.
        (torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True),
        (torch, "empty", tensor.pinned(torch.empty)),
        (torch, "empty_like", tensor.pinned(torch.empty_like)),
        (torch.Tensor, "is_pinned", tensor.is_pinned),
        (torch.Tensor, "pin_memory", tensor.pin),
        (torch.profiler, "profile", profile),
        (torch.version, "cuda", "13.0"),
        (torch.backends.cudnn, "version", lambda: 91300),
    )  # fmt: skip


def _stream(on, *, own):
    return device.Stream(queue=device.current_queue(on) if own else on.default)


def _of_models():
    from transformers import BertConfig, ResNetConfig, ViTConfig

    from batching.models import zoo

    def narrow(config, **sizes):
        real = config.__init__
        return config, "__init__", lambda self, **options: real(self, **sizes | options)

    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 32}
    yield narrow(ResNetConfig, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    yield zoo, "_IMAGE", (3, _SIDE, _SIDE)
    yield narrow(ViTConfig, intermediate_size=32, image_size=_SIDE, **layers)
    yield narrow(BertConfig, intermediate_size=32, **layers)
