"""Arrival processes. A new one is a file here and a line in PROCESSES."""

from workloads.processes.base import ArrivalProcess, as_json
from workloads.processes.constant import Constant
from workloads.processes.dispersion import CountDispersion
from workloads.processes.diurnal import Diurnal
from workloads.processes.gamma import Gamma
from workloads.processes.hawkes import Hawkes
from workloads.processes.mmpp import Mmpp
from workloads.processes.on_off import OnOff
from workloads.processes.pareto import Pareto
from workloads.processes.periodic import PeriodicPoisson
from workloads.processes.piecewise import Piecewise
from workloads.processes.poisson import Poisson
from workloads.processes.ramp import Ramp
from workloads.processes.spike import Spike
from workloads.processes.superposition import Part, Superposition
from workloads.processes.weibull import Weibull

PROCESSES: dict[str, type[ArrivalProcess]] = {
    Poisson.kind: Poisson,
    Gamma.kind: Gamma,
    Weibull.kind: Weibull,
    Pareto.kind: Pareto,
    Constant.kind: Constant,
    Mmpp.kind: Mmpp,
    OnOff.kind: OnOff,
    Hawkes.kind: Hawkes,
    Diurnal.kind: Diurnal,
    Ramp.kind: Ramp,
    Spike.kind: Spike,
    Piecewise.kind: Piecewise,
    Superposition.kind: Superposition,
}

__all__ = [
    "PROCESSES",
    "ArrivalProcess",
    "Constant",
    "CountDispersion",
    "Diurnal",
    "Gamma",
    "Hawkes",
    "Mmpp",
    "OnOff",
    "Pareto",
    "Part",
    "PeriodicPoisson",
    "Piecewise",
    "Poisson",
    "Ramp",
    "Spike",
    "Superposition",
    "Weibull",
    "as_json",
]
