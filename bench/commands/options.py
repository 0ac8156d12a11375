"""The options that commands share, each declared once. None means: not given on the command line.

Names and meanings are those of `bench.settings`, which also has the defaults.
"""

from pathlib import Path
from typing import Annotated

import typer


class Sizes(tuple[int, ...]):
    """Whole numbers, on the command line with commas between; a class, or typer counts values."""

    __slots__ = ()


def _sizes(text: str) -> Sizes:
    try:
        return Sizes(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"must be whole numbers with commas between, but got {text!r}"
        ) from None


LOAD, _MODEL, _BATCHER, OUTPUT = "Load", "Model", "Batcher", "Output"
MEASUREMENT = "Measurement"
_VERDICT = "Verdict"

Trace = Annotated[
    str | None,
    typer.Option(
        help="Trace file, or a built-in: bursty.json (default), poisson.json, steady.json, "
        "diurnal.json, flash-crowd.json.",
        rich_help_panel=LOAD,
    ),
]
Rate = Annotated[float | None, typer.Option(help="Mean load, req/s.", rich_help_panel=LOAD)]
Utilization = Annotated[
    float | None,
    typer.Option(
        help="Mean load as a share of the fastest the model can go here, probed first; "
        "the built-in traces default to 0.7.",
        rich_help_panel=LOAD,
    ),
]
Utilizations = Annotated[
    str | None,
    typer.Option(
        "--utilization",
        metavar="U[,U...]",
        help="Mean load as a share of what the profile can serve; several are tried in turn.",
        rich_help_panel=LOAD,
    ),
]
TimeScale = Annotated[
    float | None,
    typer.Option(help="Multiply all times: 2 plays half as fast.", rich_help_panel=LOAD),
]
Duration = Annotated[
    float | None,
    typer.Option(help="Length of the measured window, s.", rich_help_panel=LOAD),
]
Loop = Annotated[
    bool | None,
    typer.Option(
        "--loop/--no-loop",
        help="Play a recording that is shorter than the run again from its start.",
        rich_help_panel=LOAD,
    ),
]
RateBy = Annotated[
    str | None,
    typer.Option(
        help="How a recording gets its rate: time (stretch it; default), thin (leave requests "
        "out), superpose (lay copies over each other), or auto (thin or superpose).",
        rich_help_panel=LOAD,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of what is drawn at random.", rich_help_panel=LOAD),
]
MatchLoad = Annotated[
    bool | None,
    typer.Option(
        help="Stretch the draw a little, so that the window holds exactly rate x duration "
        "requests; for traces that describe a process.",
        rich_help_panel=LOAD,
    ),
]
TraceFormat = Annotated[
    str | None,
    typer.Option(
        help="Format of the trace file, where its content does not say: see docs/traces.md.",
        rich_help_panel=LOAD,
    ),
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        help="Column or field with the arrival times, in CSV, Parquet and JSON lines.",
        rich_help_panel=LOAD,
    ),
]
TimeUnit = Annotated[
    str | None,
    typer.Option(help="Unit of numeric times: s, ms, us or ns.", rich_help_panel=LOAD),
]
DateOrder = Annotated[
    str | None,
    typer.Option(
        metavar="day|month",
        help="What comes first in dates such as 01/03/2026.",
        rich_help_panel=LOAD,
    ),
]
Stamp = Annotated[
    str | None,
    typer.Option(
        metavar="start|end",
        help="What the times are of: a request's start, or its end, from which its duration is "
        "then taken off. Default: what the format is known to say.",
        rich_help_panel=LOAD,
    ),
]
DurationColumn = Annotated[
    str | None,
    typer.Option(
        help="Column or field with the durations that are taken off.", rich_help_panel=LOAD
    ),
]
DurationUnit = Annotated[
    str | None,
    typer.Option(
        help="Unit of numeric durations, which are then taken off: s, ms, us or ns.",
        rich_help_panel=LOAD,
    ),
]
CountColumn = Annotated[
    str | None,
    typer.Option(
        help="Column that counts the requests of each row's step of time; 'none' if each row is "
        "one request, however it looks.",
        rich_help_panel=LOAD,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=VALUE",
        help="Only the rows with this value in this column, as in metric_name=http_reqs; of "
        "several, all must hold.",
        rich_help_panel=LOAD,
    ),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME,...",
        help="Names for the columns of a CSV file that has no header.",
        rich_help_panel=LOAD,
    ),
]
MaxUnpackedGb = Annotated[
    float | None,
    typer.Option(
        help="The most that a compressed trace file may hold when unpacked, GB; default 1.",
        rich_help_panel=LOAD,
    ),
]
SkipBad = Annotated[
    int | None,
    typer.Option(
        help="Leave out at most this many bad lines of the trace file; default 0.",
        rich_help_panel=LOAD,
    ),
]
Client = Annotated[
    str | None,
    typer.Option(
        help="Who sends: one pacing thread ('thread', default), or a task for each request "
        "on an event loop ('loop').",
        rich_help_panel=LOAD,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Built-in (see 'dynbatch models'; default mlp), onnx:FILE, "
        "path/to/file.py:factory or package.module:factory.",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto (default), cpu, cuda[:index], or several of one kind: cuda:0,cuda:1.",
        rich_help_panel=_MODEL,
    ),
]
Dtype = Annotated[
    str | None, typer.Option(help="fp32 (default), fp16 or bf16.", rich_help_panel=_MODEL)
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="What executes the model: eager (default), cudagraph (captured for a few batch "
        "sizes; a GPU), or compile (torch.compile).",
        rich_help_panel=_MODEL,
    ),
]
CapturedBatchSizes = Annotated[
    Sizes | None,
    typer.Option(
        parser=_sizes,
        metavar="N1,N2,...",
        help="Batch sizes that cudagraph captures; a batch is padded to the next. "
        "Default: 1, 2, 3, 4, 6, 8, 12, 16, ... up to the largest batch.",
        rich_help_panel=_MODEL,
    ),
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option(
        help="Lay images out with their channels last. Default: for convolutional models in half "
        "precision on a GPU.",
        rich_help_panel=_MODEL,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Local checkpoint; random weights otherwise.", rich_help_panel=_MODEL),
]
LengthBuckets = Annotated[
    Sizes | None,
    typer.Option(
        parser=_sizes,
        metavar="L1,L2,...",
        help="Pad to these lengths, and batch only requests of one of them (bert-base). "
        "Default: pad to the longest in the batch.",
        rich_help_panel=_MODEL,
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        help="timeout (default), window, adaptive, deadline, or module:Class for your own.",
        rich_help_panel=_BATCHER,
    ),
]
MaxBatchSize = Annotated[
    int | None,
    typer.Option(help="Most requests in a batch; default 32.", rich_help_panel=_BATCHER),
]
BatchTimeoutMs = Annotated[
    float | None,
    typer.Option(
        help="Longest a request is held for company while the worker is free, ms; default 10.",
        rich_help_panel=_BATCHER,
    ),
]
MinWaitMs = Annotated[
    float | None,
    typer.Option(
        help="Shortest a request is held, unless the batch is full, ms; default 0.",
        rich_help_panel=_BATCHER,
    ),
]
PreferredBatchSizes = Annotated[
    Sizes | None,
    typer.Option(
        parser=_sizes,
        metavar="N1,N2,...",
        help="Batch sizes that go without waiting for the timeout.",
        rich_help_panel=_BATCHER,
    ),
]
SloMs = Annotated[
    float | None,
    typer.Option(
        help="Latency that the policies adaptive and deadline aim at, ms.",
        rich_help_panel=_BATCHER,
    ),
]
MaxQueueSize = Annotated[
    int | None,
    typer.Option(
        help="Most requests that may wait; more are rejected. Default: no limit.",
        rich_help_panel=_BATCHER,
    ),
]
DeadlineMs = Annotated[
    float | None,
    typer.Option(
        help="How long a request may wait before it expires, ms. Default: for ever.",
        rich_help_panel=_BATCHER,
    ),
]
ExecuteTimeoutMs = Annotated[
    float | None,
    typer.Option(
        help="Give a batch up that runs longer than this, ms. Default: wait for ever.",
        rich_help_panel=_BATCHER,
    ),
]
Replicas = Annotated[
    int | None,
    typer.Option(
        help="Workers that share the queue, dealt out to the devices; default one for each.",
        rich_help_panel=_BATCHER,
    ),
]
InFlight = Annotated[
    int | None,
    typer.Option(
        help="Batches a worker may hold, 1 (default) or 2: collate the next while one runs.",
        rich_help_panel=_BATCHER,
    ),
]
Slo = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OBJECTIVE",
        help="Judge the run by this, e.g. 'p99<=50ms', 'rejected<=1%', 'throughput>=1000'; "
        "may be given several times. Exit code 3 if it is missed.",
        rich_help_panel=_VERDICT,
    ),
]
UntilDecided = Annotated[
    bool | None,
    typer.Option(
        "--until-decided",
        help="Go on with further arrivals until every objective is met or missed.",
        rich_help_panel=_VERDICT,
    ),
]
MaxDuration = Annotated[
    float | None,
    typer.Option(
        help="Longest window with --until-decided, s; default 600, or --duration if longer.",
        rich_help_panel=_VERDICT,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with the tables \\[model], \\[batcher], \\[replay] and \\[slo]; "
        "options given on the command line win.",
        rich_help_panel=OUTPUT,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="The run's folder; default runs/<id>.", rich_help_panel=OUTPUT),
]
TraceFile = Annotated[
    str, typer.Argument(help="Trace file or built-in.", metavar="TRACE", show_default=False)
]
PictureFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder for arrivals.png and trace.html; default traces/<name>.",
        rich_help_panel=OUTPUT,
    ),
]
FittedFile = Annotated[
    Path | None,
    typer.Option(
        help="The described trace to write, and a picture of that name ending in .png; "
        "default traces/<name>/fitted.json.",
        rich_help_panel=OUTPUT,
    ),
]
StatisticsAsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the numbers as one JSON object on stdout, everything else on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
RecordingFile = Annotated[
    str,
    typer.Argument(help="Trace file that lists its arrivals.", metavar="TRACE", show_default=False),
]
TraceOut = Annotated[
    Path, typer.Option("--out", help="The trace file to write.", rich_help_panel=OUTPUT)
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the result as one JSON object on stdout, everything else on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors.", rich_help_panel=OUTPUT)]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Exit with code 3 if the run is not valid, or leaves an SLO undecided.",
        rich_help_panel=OUTPUT,
    ),
]

# Of `simulate`, `capacity` and `bench --predict`.
Profile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Batch times, as dynbatch profile measured them: a file, or a built-in (see "
        "'dynbatch profile --list'). Default: measured now.",
        rich_help_panel=_MODEL,
    ),
]
ProfileBudget = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Time for a profile that is measured now: 45, 45s or 5m.",
        rich_help_panel=_MODEL,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Use a profile of another model or device; the run is then not valid.",
        rich_help_panel=_MODEL,
    ),
]
Predict = Annotated[
    bool,
    typer.Option(
        "--predict",
        help="Simulate the same arrivals first, and say how far off that was.",
        rich_help_panel=OUTPUT,
    ),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KNOB=V,V,...",
        help="Try every combination: max_batch_size=1,2,4,8:batch_timeout_ms=0:20:1 "
        "(lists, or first:last:step); repeatable.",
        rich_help_panel=_BATCHER,
    ),
]
