"""From a recording to a process that can be drawn again and again."""

from workloads.fitting.fit import FITTED, Candidate, Fit, FittedScale, fit
from workloads.fitting.mmpp import Modulation, fit_mmpp, modulation

__all__ = [
    "FITTED",
    "Candidate",
    "Fit",
    "FittedScale",
    "Modulation",
    "fit",
    "fit_mmpp",
    "modulation",
]
