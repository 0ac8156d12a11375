"""Words and tables that the sections of a summary share."""

from results import format as fmt

NOT_MEASURED = "not measured"


def table(title, header, rows, commands=()):
    lines = [title, ""] if title else []
    lines += [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for command in commands:
        lines += ["", f"`{command}`"]
    return "\n".join(lines)


def met_at(arm):
    """The highest load that met the SLO; a lower bound where none was found that misses it."""
    if arm["rate_rps"] is None:
        return "none"
    rate = fmt.rate(arm["rate_rps"])
    return rate if arm["missed_at_rps"] is not None else f"at least {rate}"


def ratio(best, other):
    """How many times the load of the other; a bound where one of the two is only known as such."""
    open_ended = (best["missed_at_rps"] is None, other["missed_at_rps"] is None)
    how = {(True, False): "at least ", (False, True): "at most ", (True, True): "about "}
    return f"{how.get(open_ended, '')}x {best['rate_rps'] / other['rate_rps']:.2f}"


def percent(share):
    return NOT_MEASURED if share is None else fmt.percent(share)


def duration(seconds):
    return NOT_MEASURED if seconds is None else fmt.duration(seconds)


def alone_rps(found):
    return next(size["rate_rps"] for size in found["sizes"] if size["batch_size"] == 1)


def mfu(found):
    """The share of the published peak that full batches reach; None where that is not known."""
    peak = found["peak_batch_size"]
    return next((s.get("mfu") for s in found["sizes"] if s["batch_size"] == peak), None)


def share_of_alone(found):
    """The larger share of the device alone, of one batch in flight and two."""
    return max(found[name]["share_of_alone"] for name in ("in_flight_1", "in_flight_2"))


def best_arm(content):
    """The name of the arm that the others are compared with; None where there is none."""
    return next((name for name in ("recommended", "plain") if name in content), None)
