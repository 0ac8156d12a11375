"""Models whose times are known, and profiles measured of them in virtual time."""

import numpy as np

from batching import Placement, VirtualClock
from batching.models import AffineModel, SyntheticModel
from batching.profiles import BatchSample, ServiceProfile, Subject, measure_profile

MIXED = Subject("m", "cpu", "a processor", "fp32", "eager", 1, {"python": "3.11.7"})


def measured(make_model, **options):
    """The profile that `make_model(clock)` gets, in virtual time."""
    clock = VirtualClock()
    options = {"callers": False} | options
    return measure_profile(make_model(clock), Placement(), clock, **options)


def affine(clock):
    return AffineModel(0.005, 0.0001, clock)


class NoisyModel(SyntheticModel):
    """Takes `typical_s(n)` times exp(x), where x is a stationary AR(1) series of sd `sd(n)`.

    x_t / sd = phi x_(t-1) / sd_(t-1) + sqrt(1 - phi^2) z_t: what is carried over is how unusually
    slow it was, whatever the size.
    """

    def __init__(self, clock, typical_s, sd, phi=0.0, seed=1):
        super().__init__("noisy", clock)
        self._typical_s, self._sd, self._phi = typical_s, sd, phi
        self._rng = np.random.default_rng(seed)
        self._state = self._rng.standard_normal()

    def batch_s(self, size):
        fresh = self._rng.standard_normal()
        self._state = self._phi * self._state + np.sqrt(1 - self._phi**2) * fresh
        return self._typical_s(size) * float(np.exp(self._sd(size) * self._state))


def from_times(times_s, **options):
    """A profile with the given times: batch size -> seconds, one list for each size."""
    rows = [(size, t) for size, times in times_s.items() for t in times]
    samples = tuple(
        BatchSample(float(i), n, None, 0.0, 0.0, t, 0.0) for i, (n, t) in enumerate(rows)
    )
    return ServiceProfile(MIXED, samples, **options)
