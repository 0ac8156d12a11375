"""`dynbatch profile`: how long a model takes for a batch of each size, here."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands import options
from bench.commands.groups import MODEL, Given, takes
from bench.exit_codes import OK, Interrupted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from batching.profiles import ServiceProfile, Subject
    from bench.profiling.summary import Work


ProfileMaxBatchSize = Annotated[
    int,
    typer.Option(
        "--max-batch-size",
        help="Largest batch to measure.",
        rich_help_panel=options.MEASUREMENT,
    ),
]
Lengths = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="For a model of sequences: lengths to measure by themselves too, as 32,128,512.",
        rich_help_panel=options.MEASUREMENT,
    ),
]
Budget = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Time to measure for, loading apart: 45, 45s or 5m.",
        rich_help_panel=options.MEASUREMENT,
    ),
]
OrderSeed = Annotated[
    int,
    typer.Option(
        "--seed",
        help="Draw the inputs and the order of the batches with this seed.",
        rich_help_panel=options.MEASUREMENT,
    ),
]
ProfileOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE.json",
        help="The profile's file; default profiles/<model>-<device>-<dtype>.json, with the "
        "engine at the end unless it is eager.",
        rich_help_panel=options.OUTPUT,
    ),
]
ProfileList = Annotated[
    bool,
    typer.Option("--list", help="List the built-in profiles, and measure nothing."),
]
ProfileJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the profile's summary as one JSON object on stdout, all else on stderr.",
        rich_help_panel=options.OUTPUT,
    ),
]


@takes(MODEL, without=("length_buckets",))
def profile(
    *,
    given: Given,
    max_batch_size: ProfileMaxBatchSize = 128,
    lengths: Lengths = None,
    budget: Budget = "20s",
    seed: OrderSeed = 0,
    config: options.Config = None,
    out: ProfileOut = None,
    as_json: ProfileJson = False,
    quiet: options.Quiet = False,
    list_builtin: ProfileList = False,
) -> int:
    """Measure how long a model takes for a batch of each size; write it as JSON, with a picture.

    With no option at all: the model mlp, batches of 1 to 128, 20 s at most.
    """
    if list_builtin:
        return _list(as_json=as_json)
    from batching import RealClock
    from batching.profiles import save_profile, subject_of
    from bench.console import message_console, output_console, stdout_kept
    from bench.folders import writable
    from bench.profiling.measure import load_subject, measure_quietly
    from bench.profiling.summary import summarise, work_of
    from bench.settings import ModelSettings, load_settings, parse_duration_s
    from bench.streams import kept_in

    # Its options of the same names as the batcher's and the replay's knobs mean something else.
    asked = {key: given[key] for key in ModelSettings.model_fields if key in given}
    settings = load_settings(config, asked)
    budget_s = parse_duration_s("budget", budget)
    asked_lengths = _lengths(lengths)
    clock, messages = RealClock(), message_console(quiet=quiet)
    with stdout_kept(as_json):
        loaded, placement = load_subject(settings.model, clock)
        path = _place(out, subject_of(loaded, placement))
        with writable(path.parent):
            try:
                found = measure_quietly(
                    loaded,
                    placement,
                    clock,
                    messages,
                    max_batch_size=max_batch_size,
                    budget_s=budget_s,
                    lengths=asked_lengths,
                    seed=seed,
                    keep_interrupted=True,
                )
            except KeyboardInterrupt:
                return Interrupted("not every size had been measured once: nothing is kept")
            save_profile(found, path)
            kept_in(path)
            picture = _draw(found, path)
            work = work_of(loaded, placement, clock)
    if as_json:
        sys.stdout.write(
            json.dumps({**summarise(found, work), "profile": str(path)}, indent=2) + "\n"
        )
    elif not quiet:
        console = output_console()
        console.print(_shown(found, work))
        console.print(f"profile: {path}\npicture: {picture}", soft_wrap=True)
    return Interrupted(f"the profile is of what was measured: {path}") if found.interrupted else OK


def _list(*, as_json: bool) -> int:
    """Print what each built-in profile is of."""
    from batching.profiles import builtin_names, load_profile
    from bench.console import output_console

    found = {name: load_profile(Path(name)) for name in builtin_names()}
    if as_json:
        facts = {
            name: {
                "model": one.subject.model,
                "device_name": one.subject.device_name,
                "dtype": one.subject.dtype,
                "engine": one.subject.engine,
                "max_batch_size": one.max_batch_size,
                "peak_rps": one.peak_rps,
                "created": one.created,
                "versions": dict(one.subject.versions),
            }
            for name, one in found.items()
        }
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return OK
    console = output_console()
    console.print(_listed(found) if found else "no profile is built in so far")
    return OK


def _listed(found: Mapping[str, "ServiceProfile"]) -> "RenderableType":
    from rich.table import Table

    from results import format as fmt

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("name", "model", "device", "dtype", "engine", "capacity", "measured"):
        table.add_column(header, no_wrap=header == "name")
    for name, one in found.items():
        of = one.subject
        device = of.device_name or of.device
        day = one.created.partition("T")[0]
        table.add_row(name, of.model, device, of.dtype, of.engine, fmt.rate(one.peak_rps), day)
    return table


def _lengths(text: str | None) -> tuple[int, ...]:
    from bench.errors import InputError

    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(
            f"lengths must be whole numbers with commas between, as 32,128,512, but got {text!r}"
        ) from None


def _place(out: Path | None, subject: "Subject") -> Path:
    """The profile's file; one that holds something else is never replaced."""
    from batching.errors import ProfileError
    from batching.profiles import load_profile
    from bench.errors import InputError

    if out is None:
        engine = "" if subject.engine in {"eager", "python"} else subject.engine
        parts = (subject.model, subject.device, subject.dtype, engine)
        name = "-".join(part for part in parts if part)
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        out = Path("profiles") / f"{name}.json"
    elif out.suffix != ".json":
        raise InputError(f"out must be a file named *.json, but got {str(out)!r}")
    if out.exists():
        try:
            load_profile(out)
        except ProfileError as error:
            raise InputError(
                f"out must be a new file or a profile to replace, but {error}"
            ) from None
    return out


def _draw(found: "ServiceProfile", path: Path) -> Path:
    from results.figures.profile import ProfilePicture, save_profile_figure

    curve, subject = found.curve(), found.subject
    sizes = range(1, found.max_batch_size + 1)
    where = "" if subject.device == "synthetic" else f" on {subject.device}"
    how = [part for part in (subject.dtype, subject.engine) if part not in {"", "eager", "python"}]
    picture = path.with_suffix(".png")
    save_profile_figure(
        ProfilePicture(
            title=", ".join([f"{subject.model}{where}", *how]),
            samples_s={n: [s.total_s for s in curve.samples[n]] for n in found.sizes},
            typical_s=[found.total_s(n) for n in sizes],
            low_s=[found.quantile_s(n, 0.1) for n in sizes],
            high_s=[found.quantile_s(n, 0.9) for n in sizes],
            peak=found.peak_batch_size,
            knee=found.knee,
        ),
        picture,
    )
    return picture


def _shown(found: "ServiceProfile", work: "Work | None") -> "RenderableType":
    """The table of sizes, and under it what follows from them."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from batching.profiles.plan import sizes_up_to
    from bench.profiling.summary import remarks
    from results import format as fmt

    powers, between, _ = sizes_up_to(found.max_batch_size)
    shown = sorted({*powers, *between} & {*found.sizes})
    left_out = len(found.sizes) - len(shown)
    sizes = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    computed = _computed(found, work)
    for header in ("batch size", "time", "10 to 90 %", "hand-over", "req/s", *computed, "samples"):
        sizes.add_column(header, justify="right", no_wrap=True)
    for size in shown:
        parts = found.parts_s(size)
        low, high = (fmt.duration(found.quantile_s(size, q)) for q in (0.1, 0.9))
        sizes.add_row(
            str(size),
            fmt.duration(found.total_s(size)),
            f"{low} to {high}",
            fmt.percent((parts.collate_s + parts.deliver_s) / parts.total_s),
            fmt.number(found.rate_rps(size)),
            *(show(size) for show in computed.values()),
            str(len(found.curve().samples[size])),
        )
    return Group(
        Text(f"{found.subject.model} on {found.subject.device_name or found.subject.device}"),
        sizes,
        *([Text(f"and {left_out} sizes between them, which the file has")] if left_out else []),
        _facts(found, work),
        *(Text(f"{remark[0].upper()}{remark[1:]}.") for remark in remarks(found)),
    )


def _computed(found: "ServiceProfile", work: "Work | None") -> dict[str, Callable[[int], str]]:
    """The column of what was computed: a share of the peak where that is known; maybe none."""
    from results import format as fmt

    if work is None:
        return {}
    if work.peak is not None:
        return {"of peak": lambda size: fmt.percent(work.mfu(found, size))}
    return {"GFLOP/s": lambda size: fmt.number(work.flops_per_s(found, size) / 1e9)}


def _facts(found: "ServiceProfile", work: "Work | None") -> "RenderableType":
    from rich.table import Table

    from bench.profiling.summary import quantile
    from results import format as fmt

    cold = found.cold_start
    loading = f"load {fmt.duration(cold.load_s)}"
    if cold.engine_s is not None:
        loading += f", {found.subject.engine} {fmt.duration(cold.engine_s)}"
    if cold.engine_bytes is not None:
        loading += f" and {fmt.size(cold.engine_bytes)}"
    rows = [
        ("capacity", f"{fmt.rate(found.peak_rps)} in batches of {found.peak_batch_size}"),
        ("knee", f"nine tenths of that from batches of {found.knee} on"),
        ("batching gain", f"x {fmt.number(found.batching_gain)}, against one by one"),
        (
            "cold start",
            f"{loading}, first batch {fmt.duration(cold.first_request_s)}, "
            f"all sizes once {fmt.duration(cold.warm_up_s)}",
        ),
        (
            "overheads",
            f"idle worker wakes {fmt.duration(quantile(found.wake_s, 0.5))}, timer late "
            f"{fmt.duration(quantile(found.timer_s, 0.5))}, next batch taken after "
            f"{fmt.duration(quantile(found.turn_s, 0.5))} (medians)",
        ),
    ]
    if work is not None:
        size = found.peak_batch_size
        text = f"{fmt.flops(work.flops_per_s(found, size))} in batches of {size}"
        if work.peak is not None:
            text += (
                f", {fmt.percent(work.mfu(found, size))} of the published "
                f"{fmt.flops(work.peak.flops_per_s)} ({work.peak.format}, dense)"
            )
        rows.append(("compute", text))
    if found.memory_bytes:
        size = max(found.memory_bytes)
        whose = "of the whole process, " if found.subject.device == "cpu" else ""
        peak = fmt.size(found.memory_bytes[size])
        rows.append(("memory", f"{whose}peak {peak} with batches of {size}"))
    for length in found.lengths:
        curve = found.curve(length)
        text = ", ".join(f"{b}: {fmt.duration(curve.total_s(b))}" for b in curve.sizes)
        rows.append((f"length {length}", text))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row(name, text)
    return table
