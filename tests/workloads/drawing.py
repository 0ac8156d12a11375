"""Draws, and how far their mean may stray."""

import math

import numpy as np


def draw(process, rate_rps=100.0, duration_s=20.0, seed=0):
    return process.arrivals(rate_rps, duration_s, np.random.default_rng(seed))


def four_standard_errors(draws):
    """Half-width of an interval that the mean of independent draws leaves once in 16,000."""
    return 4 * np.std(draws, ddof=1) / math.sqrt(len(draws))
