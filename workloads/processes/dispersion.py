"""The index of dispersion for counts, IDC(t) = Var N(t) / E N(t), of processes where it is known.

N(t) is the number of arrivals in a window of length t that begins at a random time.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from workloads.checks import positive
from workloads.errors import ProcessError
from workloads.trace import Times

Complex: TypeAlias = NDArray[np.complexfloating[Any, Any]]

_TERMS, _EULER, _DAMPING = 60, 12, 18.4  # exp(-18.4) = 1e-8 is the discretisation error
_FAR = 1e6  # mean gaps beyond which IDC is its limit, and rounding would be larger than the rest


@runtime_checkable
class CountDispersion(Protocol):
    """A process whose index of dispersion can be computed rather than drawn."""

    def count_dispersion(self, rate_rps: float, span_s: float) -> float:
        """IDC(t) at the mean rate `rate_rps`, t = span_s seconds."""
        ...


def check_window(rate_rps: float, span_s: float) -> None:
    """Raise ProcessError unless both are positive and finite."""
    positive("rate_rps", rate_rps, ProcessError)
    positive("span_s", span_s, ProcessError)


def markov_dispersion(rate_rps: float, variance: float, leaving: float, span_s: float) -> float:
    """IDC of a Poisson stream whose rate has the autocovariance r^2 v exp(-q w) at lag w.

    IDC(t) = 1 + (2 r v / q) (1 - (1 - exp(-q t)) / (q t)), since
    Var N(t) = r t + 2 int_0^t (t - w) r^2 v exp(-q w) dw.

    Args:
        rate_rps: Mean rate r, requests per second.
        variance: Variance v of the rate / mean rate.
        leaving: Relaxation rate q, 1 / s.
        span_s: Length t, seconds, > 0.
    """
    return 1 + 2 * rate_rps * variance / leaving * float(relaxation(np.array(leaving * span_s)))


def relaxation(x: Times) -> Times:
    """1 - (1 - exp(-x)) / x for x > 0: x / 2 where it is small, 1 where it is large."""
    small = x < 1e-4  # where the difference would lose digits, two terms of its series
    series = x / 2 - x**2 / 6
    exact: Times = np.where(small, series, 1 + np.expm1(-x) / x)
    return exact


def renewal_dispersion(
    log_transform: Callable[[Complex], Complex], expected: float, cv: float
) -> float:
    """IDC of a stationary renewal process, by inverting a Laplace transform numerically.

    With time in units of the mean gap and f(s) the transform of the gaps' density, Var N has

        V(s) = 1 / s^2 + 2 f(s) / (s^2 (1 - f(s))) - 2 / s^3

    (Cox, Renewal Theory, 1962, section 4.5). It is inverted by the Euler method of Abate and
    Whitt (Numerical inversion of Laplace transforms of probability distributions, ORSA Journal
    on Computing 7, 1995), good to some 1e-6 where Var N is smooth. Gaps so regular that they
    leave steps in Var N blur them: those are windows of few gaps at a cv far below 0.1.

    Args:
        log_transform: log f(s), for complex s `[J]` with a positive real part.
        expected: Length of the window in mean gaps, > 0.
        cv: Coefficient of variation of the gaps.
    """
    if expected > _FAR:
        return cv**2
    s = (_DAMPING + 2j * math.pi * np.arange(_TERMS + _EULER + 1)) / (2 * expected)
    gaps = log_transform(s)
    renewals = np.exp(gaps) / -np.expm1(gaps)
    transform = 1 / s**2 + 2 * renewals / s**2 - 2 / s**3
    signs = (-1.0) ** np.arange(len(s))
    terms = signs * transform.real
    terms[0] /= 2
    partial = np.cumsum(terms)[_TERMS:]
    weights = np.array([math.comb(_EULER, k) for k in range(_EULER + 1)]) / 2.0**_EULER
    variance = math.exp(_DAMPING / 2) / expected * float(partial @ weights)
    return max(0.0, variance / expected)
