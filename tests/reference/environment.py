"""What everything ran on: the host, the GPU as its driver describes it, versions."""

import importlib.util
import json
import os
import sys
from datetime import UTC, datetime

from batching.errors import ConfigError
from batching.execution.devices import cpu_name, resolve_placement, usable_cores
from bench.hardware.environment import describe_environment
from tests.reference.naming import device_slug


def identify(device):
    """Name and short name of a device, and where it is here.

    Raises:
        ConfigError: there is no such device here.
    """
    placement = resolve_placement(device)
    if placement.is_cuda:
        from batching.execution.devices import gpu_name

        name = gpu_name(int(placement.device.partition(":")[2]))
        return {"device": placement.device, "name": name, "slug": device_slug(name)}
    cores = usable_cores()
    return {"device": "cpu", "name": cpu_name(), "slug": device_slug(cpu_name(), cores)}


def main(device):
    """Print what `identify` says as JSON, or why there is no such device."""
    if importlib.util.find_spec("torch") is None:
        sys.exit(f"{sys.executable} must have the package torch, but has not")
    try:
        print(json.dumps(identify(device)))
    except ConfigError as error:
        sys.exit(str(error))


def facts(device):
    """Everything that a figure depends on: host, GPU, versions, commit."""
    placement = resolve_placement(device)
    index = int(placement.device.partition(":")[2]) if placement.is_cuda else None
    return {
        **identify(device),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        **describe_environment(torch_threads=None, gpu_index=index),
        "load_average": os.getloadavg()[0],
        "gpu_facts": None if index is None else gpu_facts(index),
    }


def gpu_facts(index):
    """What NVML and torch say of a GPU before anything runs; null for what this one does not."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    known = {
        "torch_cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
    }
    try:
        import pynvml as nvml
    except ModuleNotFoundError:
        return known
    questions = {
        "driver": lambda h: _text(nvml.nvmlSystemGetDriverVersion()),
        "driver_cuda": lambda h: nvml.nvmlSystemGetCudaDriverVersion_v2(),
        "sm_clock_mhz": lambda h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_SM),
        "sm_clock_max_mhz": lambda h: nvml.nvmlDeviceGetMaxClockInfo(h, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_MEM),
        "memory_clock_max_mhz": lambda h: nvml.nvmlDeviceGetMaxClockInfo(h, nvml.NVML_CLOCK_MEM),
        "power_limit_w": lambda h: nvml.nvmlDeviceGetPowerManagementLimit(h) / 1e3,
        "temperature_c": lambda h: nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU),
        "persistence": lambda h: bool(nvml.nvmlDeviceGetPersistenceMode(h)),
        "ecc": lambda h: bool(nvml.nvmlDeviceGetEccMode(h)[0]),
        "mig": lambda h: bool(nvml.nvmlDeviceGetMigMode(h)[0]),
        "pcie": lambda h: (
            f"gen {nvml.nvmlDeviceGetCurrPcieLinkGeneration(h)}"
            f" x{nvml.nvmlDeviceGetCurrPcieLinkWidth(h)}"
        ),
    }
    handle = _handle(nvml, properties)
    for name, question in questions.items():
        known[name] = _asked(nvml, handle, question)
    return known


def _handle(nvml, properties):
    """NVML numbers all GPUs, CUDA only the visible ones: the UUID is common to both."""
    try:
        nvml.nvmlInit()
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
    except nvml.NVMLError:
        return None


def _asked(nvml, handle, question):
    try:
        return None if handle is None else question(handle)
    except (nvml.NVMLError, AttributeError):  # an older binding lacks the function
        return None


def _text(value):
    return value.decode() if isinstance(value, bytes) else value
