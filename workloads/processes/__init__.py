"""Arrival processes. A new one is a file here and a line in PROCESSES."""

from workloads.processes.base import ArrivalProcess, as_json
from workloads.processes.constant import Constant
from workloads.processes.gamma import Gamma
from workloads.processes.mmpp import Mmpp
from workloads.processes.on_off import OnOff
from workloads.processes.poisson import Poisson

PROCESSES: dict[str, type[ArrivalProcess]] = {
    Poisson.kind: Poisson,
    Gamma.kind: Gamma,
    Constant.kind: Constant,
    Mmpp.kind: Mmpp,
    OnOff.kind: OnOff,
}

__all__ = [
    "PROCESSES",
    "ArrivalProcess",
    "Constant",
    "Gamma",
    "Mmpp",
    "OnOff",
    "Poisson",
    "as_json",
]
