"""What is claimed, in as few numbers as possible: the table for a README."""

from results import format as fmt
from results.run.predicted import PREDICTED
from tests.reference.errors import errors, medians
from tests.reference.plan import SLO
from tests.reference.tables import alone_rps, best_arm, met_at, mfu, ratio, share_of_alone, table


def section(folder):
    """The table for a README: what is claimed, in as few numbers as possible."""
    rows = [*_short_profiles(folder), *_short_saturation(folder), *_short_capacity(folder)]
    middle = medians(errors(folder.read("bench"), folder.read("fidelity")))
    if middle:
        parts = [f"{PREDICTED[key][0]} {100 * one['error']:.1f} %" for key, one in middle.items()]
        cells = max(one["cells"] for one in middle.values())
        rows.append([f"predicted against measured, median of {cells}", ", ".join(parts)])
    return table("## In short", ["what", "measured"], rows) if rows else ""


def _short_profiles(folder):
    content = folder.read("profile")
    if not content:
        return []
    engine, best = max(content.items(), key=lambda item: item[1]["peak_rps"])
    what = f"{best['model']} {best['dtype']}, {engine}"
    text = f"{fmt.rate(best['peak_rps'])} in batches of {best['peak_batch_size']}"
    text += f", x {best['batching_gain']:.1f} of one by one"
    share = mfu(best)
    if share is not None:
        text += f", MFU {fmt.percent(share)}"
    rows = [[f"capacity of {what}", text]]
    if engine != "eager" and "eager" in content:
        gain = best["peak_rps"] / alone_rps(content["eager"])
        rows.append(["the same against one by one in eager", f"x {gain:.1f}"])
    return rows


def _short_saturation(folder):
    content = folder.read("saturation")
    if not content.get("sizes"):
        return []
    shares = [
        f"{fmt.percent(share_of_alone(found))} at {size}"
        for size, found in sorted(content["sizes"].items(), key=lambda item: int(item[0]))
    ]
    return [["through the batcher, of what the device alone could do", ", ".join(shares)]]


def _short_capacity(folder):
    content = folder.read("capacity")
    best = best_arm(content)
    if best is None or not content[best]["rate_rps"]:
        return []
    rows = [[f"load with {SLO} on bursty, {best} setting", met_at(content[best])]]
    for name, arm in content.items():
        if name != best and arm["rate_rps"]:
            rows.append([f"the same, {name}", f"{met_at(arm)}; {best} {ratio(content[best], arm)}"])
    return rows
