"""NVML with scripted answers, after the contract of nvidia-ml-py.

A GPU is a mapping from a function's name, without "nvmlDevice", to its answer: a value, a function
of the arguments after the handle, or an error to be raised. What is not scripted is "Not
Supported", as a driver says of what a product lacks. Constants are the real module's.
"""

import os
import time
from types import SimpleNamespace

import pynvml as real

_H200_BYTES, _H200_W = 150_754_820_096, 300

_OF_THE_MODULE = (
    "nvmlInit",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetUUID",
)


class FakeNvml:
    """Stands in for the module `pynvml`.

    Args:
        gpus: answers by UUID with its prefix, "GPU-..." or "MIG-...".
        fails: the error that nvmlInit raises; None if it does not.
        lacks: functions that this version of the module does not have.
    """

    def __init__(self, gpus, *, fails=None, lacks=()):
        self.gpus = gpus
        self.asked = []
        self._fails = fails
        self._lacks = lacks

    def __getattr__(self, name):
        if name in self._lacks or not hasattr(real, name):
            raise AttributeError(name)
        if name in _OF_THE_MODULE:
            return getattr(self, f"_{name[4:].lower()}")
        if name.startswith("nvmlDevice"):
            return lambda handle, *arguments: self._answer(handle, name, arguments)
        return getattr(real, name)

    def _init(self):
        if self._fails is not None:
            raise self._fails

    def _systemgetdriverversion(self):
        return "580.65.06"

    def _devicegetcount(self):
        return len(self.gpus)

    def _devicegethandlebyindex(self, index):
        return list(self.gpus)[index]

    def _devicegetuuid(self, handle):
        return handle

    def _devicegethandlebyuuid(self, uuid):
        if uuid not in self.gpus:
            raise real.NVMLError(real.NVML_ERROR_NOT_FOUND)
        return uuid

    def _answer(self, handle, name, arguments):
        self.asked.append(name)
        answer = self.gpus[handle].get(name.removeprefix("nvmlDevice"))
        if answer is None:
            raise real.NVMLError(real.NVML_ERROR_NOT_SUPPORTED)
        if isinstance(answer, Exception):
            raise answer
        return answer(*arguments) if callable(answer) else answer


def process(pid, used=None):
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def utilization_samples(*times_us):
    """What nvmlDeviceGetSamples gives: the type of the values, and the samples."""
    return real.NVML_VALUE_TYPE_UNSIGNED_INT, [
        SimpleNamespace(timeStamp=t, sampleValue=SimpleNamespace(uiVal=50)) for t in times_us
    ]


def hopper(**changes):
    """A GPU that tells everything; milliwatts, millijoules and bytes as NVML has them."""
    clocks = {real.NVML_CLOCK_SM: 1980, real.NVML_CLOCK_MEM: 2619}
    return {
        "GetUtilizationRates": SimpleNamespace(gpu=75, memory=30),
        "GetMemoryInfo": SimpleNamespace(total=80 * 2**30, used=20 * 2**30, free=60 * 2**30),
        "GetPowerUsage": 312_500,
        "GetTotalEnergyConsumption": 7_000_500,
        "GetClockInfo": clocks.get,
        "GetMaxClockInfo": clocks.get,
        "GetApplicationsClock": clocks.get,
        "GetCurrentClocksEventReasons": 0x4,
        "GetTemperature": 54,
        "GetEnforcedPowerLimit": 700_000,
        "GetPowerManagementDefaultLimit": 700_000,
        "GetPersistenceMode": 1,
        "GetEccMode": [1, 1],
        "GetMigMode": [0, 0],
        "GetCurrPcieLinkGeneration": 5,
        "GetCurrPcieLinkWidth": 16,
        "GetComputeRunningProcesses": [],
        "GetSamples": utilization_samples(1_000_000, 1_100_000, 1_200_000, 1_300_001),
    } | changes


def h200():
    """A GPU that is at work, of this process alone; its energy counter goes on."""
    return hopper(
        GetMemoryInfo=SimpleNamespace(
            total=_H200_BYTES, used=20 * 2**30, free=_H200_BYTES - 20 * 2**30
        ),
        GetPowerUsage=_H200_W * 1000,
        GetTotalEnergyConsumption=lambda: int(time.monotonic() * _H200_W * 1000),
        GetCurrentClocksEventReasons=0,
        GetPowerManagementLimit=700_000,
        GetComputeRunningProcesses=[process(os.getpid(), 20 * 2**30)],
    )


def refusing():
    """The error of a machine whose driver does not answer."""
    return real.NVMLError(real.NVML_ERROR_LIBRARY_NOT_FOUND)
