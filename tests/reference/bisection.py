"""Where to look next for the highest value that passes: doubling steps, then bisection."""

# The first steps away from where it is begun; they double each time.
_STEP = 1.08
# Relative width of the bracket that is narrow enough.
_TOLERANCE = 0.04


def following(tried, start, least=0.0):
    """The value to try next.

    Args:
        tried: (value, whether it passed) of each attempt so far, in order.
        start: where to begin, > 0.
        least: nothing lower is tried, unless it is begun with.

    Returns:
        None where the bracket is narrow enough, or nothing higher than `least` is left to try.
    """
    if not tried:
        return start
    passed = max((value for value, met in tried if met), default=None)
    failed = min((value for value, met in tried if not met), default=None)
    if passed is not None and failed is not None:
        # A load that missed below one that met is noise: between the two there is nothing to find.
        return None if failed <= (1.0 + _TOLERANCE) * passed else (passed * failed) ** 0.5
    step = _STEP ** (2 ** (len(tried) - 1))
    value = passed * step if failed is None else failed / step
    return None if value < least else value


def boundary(trials):
    """The highest load that met the SLO, and the lowest that missed it, as they were offered.

    That is not what was asked for: a draw of a bursty trace has more or fewer arrivals in its
    window than its rate says, by the same factor in all trials, since they are of one draw.
    """
    met = [trial["rate_rps"] for trial in trials if trial["met"]]
    missed = [trial["rate_rps"] for trial in trials if not trial["met"]]
    return {
        "rate_rps": max(met, default=None),
        "missed_at_rps": min(missed, default=None),
    }
