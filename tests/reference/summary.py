"""The summary of a reference run in Markdown, from what its parts wrote: fit for a README."""

from results import format as fmt
from results.run.predicted import PREDICTED, in_percent
from tests.reference import headlines
from tests.reference.errors import errors, medians
from tests.reference.folder import DONE, SUMMARY
from tests.reference.plan import PARTS, SLO
from tests.reference.tables import (
    NOT_MEASURED,
    alone_rps,
    best_arm,
    duration,
    met_at,
    mfu,
    percent,
    ratio,
    table,
)


def write(folder):
    """Write `summary.md`; returns its text."""
    text = summary(folder)
    folder.write_text(SUMMARY, text)
    return text


def summary(folder):
    """Everything that was measured; what was not is named."""
    sections = (
        _head, headlines.section, _sanity, _profiles, _saturation, _trace, _bench, _capacity,
        _fidelity, _models, _tests, _unmeasured,
    )  # fmt: skip
    return "\n\n".join(text for section in sections if (text := section(folder))) + "\n"


def _head(folder):
    found = folder.read("environment")
    if not found:
        return "# Reference run\n\nThe part `sanity` has not been run."
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


def _sanity(folder):
    content = folder.read("sanity")
    if not content:
        return ""
    found = content.get("agreement")
    lines = [
        f"{name}: {content['copies'][key] / 1e9:.1f} GB/s"
        for key, name in (
            ("within", "copies within its memory, read and written"),
            ("to_device", "from page-locked memory to the device"),
            ("back", "back"),
        )
        if content["copies"][key] is not None
    ]
    if found is not None:
        lines.append(
            f"results of {found['engine']} against eager's, one by one: {found['error']:.2g} off "
            f"in the worst of {found['rows']} rows, {found['allowed']:g} is allowed"
        )
    return "## Before anything else\n\n" + "\n".join(f"- {line}" for line in lines)


def _profiles(folder):
    content = folder.read("profile")
    if not content:
        return ""
    first = next(iter(content.values()))
    rows = [_profile_row(found, engine) for engine, found in content.items()]
    return table(
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
        fmt.rate(alone_rps(found)),
        fmt.rate(found["peak_rps"]),
        str(found["peak_batch_size"]),
        f"x {found['batching_gain']:.1f}",
        percent(mfu(found)),
        duration(cold["load"]),
        duration(cold["first_request"]),
    ]


def _saturation(folder):
    content = folder.read("saturation")
    if not content:
        return ""
    rows = []
    for size, found in sorted(content["sizes"].items(), key=lambda item: int(item[0])):
        alone, bare, one, two = (
            found[name] for name in ("alone", "bare", "in_flight_1", "in_flight_2")
        )
        best = max((one, two), key=lambda arm: arm["share_of_alone"])
        rows.append(
            [
                size,
                fmt.rate(alone["rps"]),
                fmt.percent(one["share_of_alone"]),
                fmt.percent(two["share_of_alone"]),
                fmt.rate(bare["rps"]),
                fmt.percent(one["share_of_bare"]),
                fmt.percent(two["share_of_bare"]),
                percent(best.get("device_busy_share")),
                fmt.duration(bare["cpu_s_per_request"]),
                fmt.duration(best["cpu_s_per_request"]),
            ]
        )
    return table(
        f"## Through the batcher, full queue: {content['model']} {content['dtype']}, "
        f"{content['engine']}",
        [
            "batch", "device alone", "of it, one in flight", "two", "bare loop",
            "of it, one in flight", "two", "device busy", "CPU a request, bare", "batcher",
        ],
        rows,
    )  # fmt: skip


def _trace(folder):
    content = folder.read("trace")
    if not content.get("on_device"):
        return ""
    found = content["summary"]
    if not found:
        return "The profiler recorded nothing of the device: idle time is not measured."
    text = (
        f"## One steady second\n\nIn batches of {content['batch_size']}, two in flight, by "
        f"torch's profiler: computing {fmt.percent(found['computing_share'])} of the time, copying "
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
    return text + "\n\n" + table("", ["idle after", "before", "times", "share", "longest"], rows)


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
                duration(metrics["latency_s"]["p50"]),
                duration(metrics["latency_s"]["p99"]),
                fmt.number(metrics["batch"]["mean_size"]),
                percent(device["busy_fraction"]),
                percent(device["mfu"]),
                fmt.joules(device["energy_j_per_request"]),
                fmt.megahertz(device["sm_clock_mhz"]),
                "yes" if found["valid"] else ", ".join(found["findings"]),
            ]
        )
    window_s = next(iter(content.values()))["settings"]["replay"]["duration"]
    return table(
        f"## Replays of {window_s:g} s",
        [
            "trace, utilisation", "load", "p50", "p99", "batch", "busy", "MFU while busy",
            "energy a request", "clock, mean", "valid",
        ],
        rows,
        [next(iter(content.values()))["command"]],
    )  # fmt: skip


def _capacity(folder):
    content = folder.read("capacity")
    if not content:
        return ""
    best = content.get(best_arm(content), {})
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
                met_at(arm),
                "none" if arm["missed_at_rps"] is None else fmt.rate(arm["missed_at_rps"]),
                "" if met is None else duration(met["p99_s"]),
                "" if not (rate and best.get("rate_rps")) else ratio(best, arm),
            ]
        )
    return table(
        f"## Highest load with {SLO} on bursty, bisected on the device",
        ["setting", "engine", "knobs", "met at", "missed at", "p99 where met",
         f"{best_arm(content)} / this"],
        rows,
    )  # fmt: skip


def _fidelity(folder):
    cells = errors(folder.read("bench"), folder.read("fidelity"))
    if not cells:
        return ""
    order = list(PREDICTED)
    rows = []
    for key, cell in sorted(cells.items()):
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
    middle = medians(cells)
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
    return table(
        "## Predicted against measured: error (spread of the replays)",
        ["trace, utilisation", *names],
        rows,
    )


def _models(folder):
    content = folder.read("models")
    if not content:
        return ""
    rows = [_profile_row(found, name) for name, found in content.items()]
    return table(
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
        f"{found['skipped']} skipped, {found['hung']} hung; {found['seconds']:.0f} s."
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
