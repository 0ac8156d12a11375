"""The summary of a reference run in Markdown, from what its parts wrote: fit for a README."""

from results import format as fmt
from results.prediction import PREDICTED, in_percent
from tests.reference.folder import DONE, SUMMARY
from tests.reference.gpu_tests import INTERRUPTED
from tests.reference.plan import PARTS, SLO
from tests.reference.replays import errors, medians

NOT_MEASURED = "not measured"
_IN_FLIGHT = ("in_flight_1", "in_flight_2")


def write(folder):
    """Write `summary.md`; returns its text."""
    text = summary(folder)
    folder.write_text(SUMMARY, text)
    return text


def summary(folder):
    """Everything that was measured; what was not is named."""
    sections = (
        _head, _short, _profiles, _saturation, _bench, _capacity, _fidelity, _models, _tests,
        _unmeasured,
    )  # fmt: skip
    return "\n\n".join(text for section in sections if (text := section(folder))) + "\n"


def _head(folder):
    found = folder.read("environment")
    if not found:
        return "# Reference run\n\nThe part `environment` has not been run."
    gpu = found["gpu_facts"] or {}
    packages = found["packages"]
    facts = [
        f"{found['cpu']}, {found['cores']} cores",
        f"driver {gpu['driver']}" if gpu.get("driver") else "",
        f"power limit {gpu['power_limit_w']:.0f} W" if gpu.get("power_limit_w") else "",
        f"Python {found['python']}",
        *(f"{name} {version}" for name, version in packages.items() if name != "dynbatch"),
        f"dynbatch {packages['dynbatch']}" if "dynbatch" in packages else "",
        f"commit {found['git_commit']}" if found["git_commit"] else "",
    ]
    day = found["measured"].partition("T")[0]
    device = "cpu" if found["device"] == "cpu" else "cuda"
    return (
        f"# {found['name']}\n\n"
        f"{', '.join(fact for fact in facts if fact)}; {day}.\n"
        f"`make gpu-reference{' DEVICE=cpu' if device == 'cpu' else ''}`"
    )


def _short(folder):
    """The table for a README: what is claimed, in as few numbers as possible."""
    rows = [*_short_profiles(folder), *_short_saturation(folder), *_short_capacity(folder)]
    middle = medians(errors(folder.read("bench"), folder.read("fidelity")))
    if middle:
        parts = [f"{PREDICTED[key][0]} {100 * one['error']:.1f} %" for key, one in middle.items()]
        cells = max(one["cells"] for one in middle.values())
        rows.append([f"predicted against measured, median of {cells}", ", ".join(parts)])
    return _table("## In short", ["what", "measured"], rows) if rows else ""


def _short_profiles(folder):
    content = folder.read("profile")
    if not content:
        return []
    engine, best = max(content.items(), key=lambda item: item[1]["peak_rps"])
    what = f"{best['model']} {best['dtype']}, {engine}"
    text = f"{fmt.rate(best['peak_rps'])} in batches of {best['peak_batch_size']}"
    text += f", x {best['batching_gain']:.1f} of one by one"
    mfu = _mfu(best)
    rows = [[f"capacity of {what}", text if mfu is None else f"{text}, MFU {fmt.percent(mfu)}"]]
    if engine != "eager" and "eager" in content:
        gain = best["peak_rps"] / _alone_rps(content["eager"])
        rows.append(["the same against one by one in eager", f"x {gain:.1f}"])
    return rows


def _short_saturation(folder):
    content = folder.read("saturation")
    if not content.get("sizes"):
        return []
    shares = [
        f"{fmt.percent(max(found[name]['share_of_bare'] for name in _IN_FLIGHT))} at {size}"
        for size, found in content["sizes"].items()
    ]
    return [["through the batcher, of a bare loop's requests/s", ", ".join(shares)]]


def _short_capacity(folder):
    content = folder.read("capacity")
    best = content.get("recommended", {}).get("rate_rps")
    if not best:
        return []
    rows = [[f"load with {SLO} on bursty, recommended setting", _met_at(content["recommended"])]]
    for name, arm in content.items():
        if name != "recommended" and arm["rate_rps"]:
            text = f"{_met_at(arm)}; recommended {_ratio(content['recommended'], arm)}"
            rows.append([f"the same, {name}", text])
    return rows


def _alone_rps(found):
    return next(size["rate_rps"] for size in found["sizes"] if size["batch_size"] == 1)


def _mfu(found):
    """The share of the published peak that full batches reach; None where that is not known."""
    peak = found["peak_batch_size"]
    return next((s.get("mfu") for s in found["sizes"] if s["batch_size"] == peak), None)


def _profiles(folder):
    content = folder.read("profile")
    if not content:
        return ""
    first = next(iter(content.values()))
    rows = [_profile_row(found, engine) for engine, found in content.items()]
    return _table(
        f"## Batch times of {first['model']} {first['dtype']}",
        [
            "engine",
            "one by one",
            "capacity",
            "in batches of",
            "gain",
            "MFU there",
            "load",
            "first batch",
        ],
        rows,
        [found["command"] for found in content.values()],
    )


def _profile_row(found, name):
    cold = found["cold_start_s"]
    return [
        name,
        fmt.rate(_alone_rps(found)),
        fmt.rate(found["peak_rps"]),
        str(found["peak_batch_size"]),
        f"x {found['batching_gain']:.1f}",
        _percent(_mfu(found)),
        _duration(cold["load"]),
        _duration(cold["first_request"]),
    ]


def _saturation(folder):
    content = folder.read("saturation")
    if not content:
        return ""
    rows = []
    for size, found in content["sizes"].items():
        bare, one, two = (found[name] for name in ("bare", "in_flight_1", "in_flight_2"))
        best = max((one, two), key=lambda arm: arm["share_of_bare"])
        rows.append(
            [
                size,
                fmt.rate(bare["rps"]),
                fmt.percent(one["share_of_bare"]),
                fmt.percent(two["share_of_bare"]),
                NOT_MEASURED if bare["device_rps"] is None else fmt.rate(bare["device_rps"]),
                _percent(best.get("device_busy_share")),
                fmt.duration(bare["cpu_s_per_request"]),
                fmt.duration(best["cpu_s_per_request"]),
            ]
        )
    text = _table(
        f"## Through the batcher against a bare loop: {content['model']} {content['dtype']}, "
        f"{content['engine']}",
        [
            "batch", "bare loop", "batcher", "two in flight", "device alone", "device busy",
            "CPU a request, bare", "batcher",
        ],
        rows,
    )  # fmt: skip
    copy = content.get("copy")
    if copy:
        text += (
            f"\n\nCopies to the device: {copy['bytes_per_s'] / 1e9:.1f} GB/s from pinned memory, "
            f"{fmt.size(copy['bytes_per_request'])} a request."
        )
    return text + _traced(content.get("trace"))


def _traced(trace):
    if not trace:
        return ""
    if not trace["summary"]:
        return "\n\nThe profiler recorded nothing of the device: idle time is not measured."
    found = trace["summary"]
    text = (
        f"\n\nOne steady second in batches of {trace['batch_size']}, two in flight, by torch's "
        f"profiler: computing {fmt.percent(found['computing_share'])} of the time, copying "
        f"{fmt.percent(found['copying_share'])}, neither {fmt.percent(found['idle_share'])}; gaps "
        f"of up to 5 µs between kernels make up {fmt.percent(found['short_gaps_share'])}."
    )
    if not found["gaps"]:
        return text
    rows = [
        [
            f"`{gap['after']}`",
            f"`{gap['before']}`",
            str(gap["count"]),
            fmt.percent(gap["share"]),
            fmt.duration(gap["longest_s"]),
        ]
        for gap in found["gaps"]
    ]
    return text + "\n\n" + _table("", ["idle after", "before", "times", "share", "longest"], rows)


def _bench(folder):
    content = folder.read("bench")
    if not content:
        return ""
    rows = []
    for key, found in sorted(content.items()):
        metrics = found["metrics"]
        device = metrics["device"]
        rows.append(
            [
                key,
                fmt.rate(metrics["offered_rps"]),
                _duration(metrics["latency_s"]["p50"]),
                _duration(metrics["latency_s"]["p99"]),
                fmt.number(metrics["batch"]["mean_size"]),
                _percent(device["busy_fraction"]),
                "yes" if found["valid"] else ", ".join(found["findings"]),
            ]
        )
    window_s = next(iter(content.values()))["settings"]["replay"]["duration"]
    return _table(
        f"## Replays of {window_s:g} s",
        ["trace, utilisation", "load", "p50", "p99", "batch", "busy", "valid"],
        rows,
        [next(iter(content.values()))["command"]],
    )


def _capacity(folder):
    content = folder.read("capacity")
    if not content:
        return ""
    best = content.get("recommended", {}).get("rate_rps")
    rows = []
    for name, arm in content.items():
        rate = arm["rate_rps"]
        knobs = arm["batcher"]
        met = max((t for t in arm["trials"] if t["met"]), key=lambda t: t["rate_rps"], default=None)
        rows.append(
            [
                name,
                arm["engine"],
                f"{knobs['policy']} {knobs['max_batch_size']} / {knobs['batch_timeout_ms']:g} ms"
                + (f", in flight {knobs['in_flight']}" if knobs["in_flight"] > 1 else ""),
                _met_at(arm),
                "none" if arm["missed_at_rps"] is None else fmt.rate(arm["missed_at_rps"]),
                "" if met is None else _duration(met["p99_s"]),
                "" if not (rate and best) else _ratio(content["recommended"], arm),
            ]
        )
    return _table(
        f"## Highest load with {SLO} on bursty, bisected on the device",
        ["setting", "engine", "knobs", "met at", "missed at", "p99 where met",
         "recommended / this"],
        rows,
    )  # fmt: skip


def _fidelity(folder):
    table = errors(folder.read("bench"), folder.read("fidelity"))
    if not table:
        return ""
    order = list(PREDICTED)
    rows = []
    for key, cell in sorted(table.items()):
        rows.append(
            [
                key,
                *(
                    in_percent(cell[metric]["error"])
                    + (
                        ""
                        if cell[metric]["spread"] is None
                        else f" ({100 * cell[metric]['spread']:.1f} %)"
                    )
                    if metric in cell
                    else NOT_MEASURED
                    for metric in order
                ),
            ]
        )
    middle = medians(table)
    rows.append(
        [
            "median, absolute",
            *(
                f"{100 * middle[metric]['error']:.1f} %" if metric in middle else NOT_MEASURED
                for metric in order
            ),
        ]
    )
    names = [PREDICTED[metric][0] for metric in order]
    return _table(
        "## Predicted against measured: error (spread of the replays)",
        ["trace, utilisation", *names],
        rows,
    )


def _models(folder):
    content = folder.read("models")
    if not content:
        return ""
    rows = [_profile_row(found, name) for name, found in content.items()]
    return _table(
        "## Other models",
        [
            "model",
            "one by one",
            "capacity",
            "in batches of",
            "gain",
            "MFU there",
            "load",
            "first batch",
        ],
        rows,
    )


def _tests(folder):
    found = folder.read("tests")
    if not found:
        return ""
    text = (
        f"## Tests marked gpu\n\n{found['passed']} passed, {found['failed']} failed, "
        f"{found['skipped']} skipped."
        + (" It was ended before the last of them." if found["exit_code"] == INTERRUPTED else "")
    )
    failures = [f"- `{name}`: {why}" for name, why in found.get("failures", {}).items()]
    return "\n".join([text, *([""] if failures else []), *failures])


def _unmeasured(folder):
    """What is not done, with the reason."""
    noted = folder.steps
    parts = {step["part"] for step in noted.values()}
    lines = [
        f"- {name}: {step['state']}, {step['reason']}"
        for name, step in noted.items()
        if step["state"] != DONE
    ]
    lines += [f"- {part}: not run ({what})" for part, what in PARTS.items() if part not in parts]
    took = ", ".join(f"{name} {step['took_s']:.0f} s" for name, step in noted.items())
    texts = [f"## What it took\n\n{took}."] if took else []
    if lines:
        texts.append("## Not measured, or not to its end\n\n" + "\n".join(lines))
    return "\n\n".join(texts)


def _table(title, header, rows, commands=()):
    lines = [title, ""] if title else []
    lines += [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for command in commands:
        lines += ["", f"`{command}`"]
    return "\n".join(lines)


def _met_at(arm):
    """The highest load that met the SLO; a lower bound where none was found that misses it."""
    if arm["rate_rps"] is None:
        return "none"
    rate = fmt.rate(arm["rate_rps"])
    return rate if arm["missed_at_rps"] is not None else f"at least {rate}"


def _ratio(best, other):
    """How many times the load of the other; a bound where one of the two is only known as such."""
    open_ended = (best["missed_at_rps"] is None, other["missed_at_rps"] is None)
    how = {(True, False): "at least ", (False, True): "at most ", (True, True): "about "}
    return f"{how.get(open_ended, '')}x {best['rate_rps'] / other['rate_rps']:.2f}"


def _percent(share):
    return NOT_MEASURED if share is None else fmt.percent(share)


def _duration(seconds):
    return NOT_MEASURED if seconds is None else fmt.duration(seconds)
