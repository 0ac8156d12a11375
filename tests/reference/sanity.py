"""The part `sanity`: is this a device that can be measured, and does the engine compute right?

What it is and how fast it copies is written down first; then the results of the fast engine are
held to eager's. Where they differ, or anything fails, nothing else is worth measuring.
"""

import time

import numpy as np

from batching import BatchRecord, RealClock, load_model
from batching.execution.choose import make_executor
from batching.execution.devices import resolve_placement
from batching.execution.staging import HostStaging
from tests.reference.environment import facts

# Sizes of batches that are run, in this order, and those that are captured: one of each kind,
# alone, padded, full, and again after another.
_RUN, _CAPTURED = (1, 3, 8, 5, 8), (1, 4, 8)
# By number format: the largest ||result - eager's|| / ||eager's|| of a row that rounding explains.
# A batch of another size may be computed by other kernels, in another order.
_ROUNDING = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2}
_BLOCK_BYTES, _COPIES = 64 * 2**20, 8


class UnfitError(Exception):
    """The device computes something else than it should."""


def run(context):
    """Write `environment.json` and `sanity.json`.

    Raises:
        UnfitError: results are not those of eager.
    """
    plan, folder = context.plan, context.folder
    folder.write("environment", facts(plan.device))
    placement = resolve_placement(plan.device, plan.dtype)
    content = {"copies": copies(placement)}
    folder.write("sanity", content)
    content["agreement"] = agreement(plan)
    folder.write("sanity", content)
    judge(content["agreement"])
    return ""


def judge(found):
    """Raise UnfitError where results differ by more than rounding, or went to another request."""
    if found["mixed_up"]:
        raise UnfitError(
            f"{found['engine']} must give each request its own result, but {found['mixed_up']} of "
            f"{found['rows']} rows are nearer to another's"
        )
    if not found["error"] <= found["allowed"]:
        raise UnfitError(
            f"{found['engine']} must give eager's results within {found['allowed']:g}, "
            f"but is off by {found['error']:.3g} in the worst of {found['rows']} rows"
        )


def agreement(plan):
    """How far the engine's results are from eager's, one request at a time, by the same weights.

    Returns:
        `error`: the largest relative distance of a row; nan counts as infinite. `apart`: the
        smallest between two requests' own results; `mixed_up`: rows that are nearer by far to
        another's; `allowed`: what rounding explains.
    """
    engine = "cudagraph" if plan.on_gpu else "eager"
    captured = _CAPTURED if plan.on_gpu else ()
    placement = resolve_placement(plan.device, plan.dtype, engine=engine, captured_sizes=captured)
    model = load_model(plan.model, clock=RealClock())
    executor = make_executor(model, placement, RealClock())
    executor.prepare()
    rng = np.random.default_rng(0)
    payloads = [model.make_input(rng) for _ in range(max(_RUN))]
    wanted = np.stack([_eagerly(model, placement.device, payload) for payload in payloads])
    error, mixed_up = 0.0, 0
    for size in _RUN:
        rows = executor.execute(payloads[:size], BatchRecord(size=size))
        for own, row in enumerate(rows):
            distances = _distances(_values(row), wanted)
            error = max(error, distances[own])
            mixed_up += min(distances) < 0.25 * distances[own]
    executor.close()
    return {
        "engine": engine,
        "model": plan.model,
        "dtype": plan.dtype,
        "rows": sum(_RUN),
        "error": min(error, 1e30),
        "apart": _apart(wanted),
        "mixed_up": mixed_up,
        "allowed": _ROUNDING[plan.dtype],
    }


def _eagerly(model, device, payload):
    inputs = model.collate([payload], HostStaging()).inputs
    on_device = (
        {name: value.to(device) for name, value in inputs.items()}
        if isinstance(inputs, dict)
        else inputs.to(device)
    )
    return _values(model.run(on_device)[0])


def _values(row):
    return row.detach().float().cpu().numpy().ravel().astype(float)


def _distances(row, wanted):
    """Relative to each wanted row; infinite for what is no number."""
    found = np.linalg.norm(wanted - row, axis=1) / np.linalg.norm(wanted, axis=1)
    return [float(distance) if np.isfinite(distance) else np.inf for distance in found]


def _apart(wanted):
    """The smallest relative distance of two rows."""
    return min(
        distance
        for own, row in enumerate(wanted)
        for other, distance in enumerate(_distances(row, wanted))
        if other != own
    )


def copies(placement):
    """Bytes a second, in blocks of 64 MiB: within memory, and between host and device if it has.

    A copy within a memory reads and writes each byte: both are counted.
    """
    import torch

    count = _BLOCK_BYTES // 4
    if not placement.is_cuda:
        one, two = torch.ones(count), torch.zeros(count)
        two.copy_(one)
        began_s = time.perf_counter()
        for _ in range(_COPIES):
            two.copy_(one)
        seconds = time.perf_counter() - began_s
        return {"within": 2 * _COPIES * _BLOCK_BYTES / seconds, "to_device": None, "back": None}
    device = torch.device(placement.device)
    host = torch.empty(count, pin_memory=True).fill_(1.0)
    one, two = (torch.empty(count, device=device) for _ in range(2))
    with torch.cuda.device(device):
        return {
            "within": 2 * _speed(torch, two, one),
            "to_device": _speed(torch, one, host),
            "back": _speed(torch, host, one),
        }


def _speed(torch, target, source):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(2):
        target.copy_(source, non_blocking=True)
    begin.record()
    for _ in range(_COPIES):
        target.copy_(source, non_blocking=True)
    end.record()
    end.synchronize()
    return _COPIES * _BLOCK_BYTES / (begin.elapsed_time(end) / 1e3)
