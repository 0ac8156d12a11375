"""What a run says in words: its headline, its validity, its metrics by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results import format as fmt
from results.run.metrics import Metrics
from results.run.record import (
    SIMULATION,
    Run,
    RunRecord,
    mapping,
    positive_number,
)
from results.run.slo import Kind, Slo
from results.run.verdict import Decision, Verdict

NVML_PERIOD = "1/6 to 1 s"
"""The sampling period of NVML's utilisation by its reference (nvmlUtilization_t), where the driver
does not tell its own."""


def headline(run: Run) -> str:
    """Return one sentence that says how much was answered and how fast."""
    record, metrics = run.record, run.metrics
    subject = str(record.config.get("model") or "The model")
    if record.config.get("device"):
        subject += f" on {record.config['device']}"
    answered = "would have answered" if record.kind == SIMULATION else "answered"
    latency = metrics.latency_s
    if latency.p50 is None:
        return f"{subject} {answered} none of {fmt.count(metrics.counts.submitted)} requests."
    counts = metrics.counts
    share, whose = "", "requests"
    if counts.ok < counts.submitted:
        share = f" and {fmt.percent(counts.ok / counts.submitted)} of the requests"
        whose = "answers"
    return (
        f"{subject} {answered} {fmt.rate(metrics.throughput_rps)}{share}; half of the {whose} "
        f"within {fmt.duration(latency.p50)}, 99 % within {fmt.duration(latency.p99)}."
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a run's numbers can be believed, in words.

    Args:
        word: "valid", "NOT VALID", or "not analysed".
        reasons: What makes it not valid, briefly, e.g. "saturated".
        partial: Whether the run was interrupted.
        simulated: Whether nothing was run at all.
    """

    word: str
    reasons: tuple[str, ...]
    partial: bool
    simulated: bool = False

    @property
    def good(self) -> bool:
        """Whether there is nothing to be said against the run."""
        return self.word == "valid" and not self.partial

    @property
    def line(self) -> str:
        """The whole in one line, the gravest first."""
        text = self.word + (f": {', '.join(self.reasons)}" if self.reasons else "")
        text = f"PARTIAL (interrupted), {text}" if self.partial else text
        return f"SIMULATED, {text}" if self.simulated else text


def standing(record: RunRecord) -> Standing:
    """Return whether a run is valid, partial or neither."""
    word = {True: "valid", False: "NOT VALID", None: "not analysed"}[record.valid]
    reasons = tuple(finding.code.replace("_", " ") for finding in record.findings)
    return Standing(word, reasons, record.partial, record.kind == SIMULATION)


def repetition(record: RunRecord) -> str | None:
    """Return what to bear in mind of a run whose recording was played more than once."""
    pass_s = positive_number(record.trace, "pass_s")
    if pass_s is None or pass_s >= record.window_s:
        return None
    return (
        f"The recording lasts {fmt.duration(pass_s)} and was played "
        f"{fmt.number(record.window_s / pass_s)} times: requests after its first pass are load, "
        "but no new evidence, and only those of one pass are counted as such."
    )


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict in words.

    Args:
        word: E.g. "p99<=50ms met".
        reason: What it rests on, and what would decide it where nothing is decided.
        decision: met, missed or undecided.
    """

    word: str
    reason: str
    decision: Decision


def rulings(record: RunRecord) -> list[Ruling]:
    """Return the verdicts of a run in words, in the order of its SLOs."""
    return [Ruling(f"{v.slo} {v.decision}", _reason(v), v.decision) for v in record.verdicts]


def _reason(verdict: Verdict) -> str:
    slo = Slo.parse(verdict.slo)
    text = _seen(verdict, slo)
    if verdict.decision is not Decision.UNDECIDED:
        return f"{text}; of {verdict.population}, at 99 % confidence"
    if verdict.more_s is None:
        return f"{text}; too close to the limit for any reasonable run to decide"
    more = fmt.duration(verdict.more_s)
    if verdict.more_requests is not None:
        return f"{text}; about {fmt.count(verdict.more_requests)} more requests ({more}) may decide"
    return f"{text}; about {more} more may decide"


def _seen(verdict: Verdict, slo: Slo) -> str:
    objective = slo.objective
    if verdict.past_limit is None:
        show = _SHOW[objective.kind]
        if verdict.estimate is None:
            unanswered = verdict.decision is Decision.MISSED
            return "a request without an answer took for ever" if unanswered else fmt.NOT_MEASURED
        between = f"{show(verdict.low)} to {show(verdict.high)}"
        return f"{show(verdict.estimate)} ({between})"
    of = f"of {fmt.count(verdict.requests)} requests"
    if verdict.effective_requests is not None and verdict.decision is Decision.UNDECIDED:
        of += f", which count for {fmt.count(verdict.effective_requests)} independent ones,"
    share = verdict.past_limit / verdict.requests if verdict.requests else None
    allowed = slo.limit if slo.from_above else 1.0 - slo.limit
    if objective.level is not None:
        allowed = 1.0 - objective.level
        return f"{fmt.percent(share)} {of} took longer, {fmt.percent(allowed)} may"
    event = objective.name if slo.from_above else f"not {objective.name}"
    return f"{fmt.percent(share)} {of} ended {event}, {fmt.percent(allowed)} may"


_SHOW = {
    Kind.LATENCY: fmt.duration,
    Kind.PART: fmt.duration,
    Kind.SLIP: fmt.duration,
    Kind.ENDING: fmt.percent,
    Kind.RATE: fmt.rate,
    Kind.BUSY: fmt.percent,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One metric: what it is called, its value as shown, its key in run.json."""

    name: str
    value: str
    key: str


def _energy_source(source: str | None) -> str:
    return fmt.NOT_MEASURED if source is None else ENERGY_SOURCES[source]


def _reasons(reasons: Sequence[str] | None) -> str:
    if reasons is None:
        return fmt.NOT_MEASURED
    return " and ".join(reasons) or "nothing"


ENERGY_SOURCES = {"counter": "the energy counter", "power": "power readings, integrated"}
"""Where energy is from, in words."""

_SHOWN: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("offered load", "offered_rps", fmt.rate),
    ("throughput (answered ok)", "throughput_rps", fmt.rate),
    ("goodput (answered within the SLO)", "goodput_rps", fmt.rate),
    ("latency, mean", "latency_s.mean", fmt.duration),
    ("latency, p50", "latency_s.p50", fmt.duration),
    ("latency, p90", "latency_s.p90", fmt.duration),
    ("latency, p95", "latency_s.p95", fmt.duration),
    ("latency, p99", "latency_s.p99", fmt.duration),
    ("latency, p99.9", "latency_s.p99_9", fmt.duration),
    ("latency, max", "latency_s.max", fmt.duration),
    ("sent late (slip), mean", "breakdown_s.slip", fmt.duration),
    ("waited while a worker was free (forming), mean", "breakdown_s.forming", fmt.duration),
    ("waited while all were busy (queued), mean", "breakdown_s.queued", fmt.duration),
    ("inputs put together (collate), mean", "breakdown_s.collate", fmt.duration),
    ("ready, device not (staged), mean", "breakdown_s.staged", fmt.duration),
    ("on the device (execute), mean", "breakdown_s.execute", fmt.duration),
    ("result handed over (deliver), mean", "breakdown_s.deliver", fmt.duration),
    ("between attempts (retry), mean", "breakdown_s.retry", fmt.duration),
    ("slip, p50", "slip_s.p50", fmt.duration),
    ("slip, p99", "slip_s.p99", fmt.duration),
    ("slip, max", "slip_s.max", fmt.duration),
    ("machine stalls, p50", "stall_s.p50", fmt.duration),
    ("machine stalls, p99", "stall_s.p99", fmt.duration),
    ("machine stalls, max", "stall_s.max", fmt.duration),
    ("batches", "batch.count", fmt.count),
    ("batch size, mean", "batch.mean_size", fmt.number),
    ("batch efficiency (size / limit)", "batch.efficiency", fmt.percent),
    ("padding efficiency (real / padded)", "batch.padding_efficiency", fmt.percent),
    ("requests submitted", "counts.submitted", fmt.count),
    ("requests ok", "counts.ok", fmt.count),
    ("requests rejected", "counts.rejected", fmt.count),
    ("requests expired", "counts.expired", fmt.count),
    ("requests failed", "counts.failed", fmt.count),
    ("requests cancelled", "counts.cancelled", fmt.count),
    ("requests retried", "counts.retried", fmt.count),
    ("device busy fraction", "device.busy_fraction", fmt.percent),
    ("device time per request", "device.busy_s_per_request", fmt.duration),
    ("NVML utilisation", "device.nvml_utilization", fmt.percent),
    ("memory, peak", "device.memory_bytes", fmt.size),
    ("power, mean", "device.power_w", fmt.watts),
    ("energy", "device.energy_j", fmt.joules),
    ("energy per request", "device.energy_j_per_request", fmt.joules),
    ("energy is from", "device.energy_source", _energy_source),
    ("clock, mean", "device.sm_clock_mhz", fmt.megahertz),
    ("clock, lowest", "device.sm_clock_min_mhz", fmt.megahertz),
    ("temperature, highest", "device.temperature_c", fmt.celsius),
    ("time with the clock held down", "device.throttled_fraction", fmt.percent),
    ("clock held down by", "device.throttle_reasons", _reasons),
    ("floating-point operations per busy second", "device.flops_per_s", fmt.flops),
    ("share of the published peak (MFU)", "device.mfu", fmt.percent),
    ("process CPU utilisation", "device.cpu_utilization", fmt.percent),
)


def metric_rows(metrics: Metrics) -> list[Row]:
    """Return every metric with its name and value in words, but for the histogram."""
    values = dict(_flat(metrics.model_dump()))
    return [Row(name, show(values[key]), key) for name, key, show in _SHOWN]


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """What each of several devices did: their names, and a row for every metric that one has."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def device_table(metrics: Metrics) -> DeviceTable | None:
    """Return the metrics by device; None where there are not several."""
    if not metrics.devices:
        return None
    each = [one.model_dump() for one in metrics.devices.values()]
    rows: list[tuple[str, tuple[str, ...]]] = []
    for name, key, show in _SHOWN:
        section, _, field = key.partition(".")
        if section == "device" and any(values[field] is not None for values in each):
            rows.append((name, tuple(show(values[field]) for values in each)))
    return DeviceTable(tuple(metrics.devices), tuple(rows))


def gpu_words(run: Run) -> str | None:
    """Return what the driver said of the GPU, in one line; None where it said nothing."""
    device = run.metrics.device
    said = [
        (device.nvml_utilization, _nvml_words(run)),
        (device.sm_clock_mhz, fmt.megahertz(device.sm_clock_mhz)),
        (device.power_w, fmt.watts(device.power_w)),
        (
            device.energy_j_per_request,
            f"{fmt.joules(device.energy_j_per_request)} a request by "
            f"{_energy_source(device.energy_source)}",
        ),
        (device.temperature_c, f"at most {fmt.celsius(device.temperature_c)}"),
    ]
    return ", ".join(text for value, text in said if value is not None) or None


def compute_words(metrics: Metrics) -> str | None:
    """Return how much was computed while busy, in one line; None where that was not counted."""
    device = metrics.device
    if device.flops_per_s is None:
        return None
    text = f"{fmt.flops(device.flops_per_s)} while busy"
    return text if device.mfu is None else f"{text}, {fmt.percent(device.mfu)} of the peak (MFU)"


def _nvml_words(run: Run) -> str:
    periods = [
        facts.get("nvml_utilization_period_s")
        for facts in mapping(run.record.environment, "devices").values()
        if isinstance(facts, Mapping)
    ]
    known = [period for period in periods if isinstance(period, int | float)]
    over = fmt.duration(max(known)) if known else NVML_PERIOD
    return f"NVML utilisation {fmt.percent(run.metrics.device.nvml_utilization)} (over {over} each)"


def free_form_rows(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return nested free-form values as pairs of a dotted key and a text."""
    return [(key, text_of(key, value)) for key, value in _flat(values)]


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def text_of(key: str, value: object) -> str:
    """Return a free-form value as text, in the unit that its dotted key names."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(key, item) for item in value) or "none"
    if isinstance(value, Mapping):
        return " ".join(f"{name} {text_of(str(name), item)}" for name, item in value.items())
    if not isinstance(value, int | float):
        return str(value)
    parts = key.split(".")
    if parts[-1].endswith("flops_per_s"):
        return fmt.flops(value)
    if any(part.endswith("_s") for part in parts):
        return fmt.duration(value)
    if parts[-1].endswith("_rps"):
        return fmt.rate(value)
    if parts[-1].endswith("_ms"):
        return f"{value:g} ms"
    if parts[-1].endswith("_bytes"):
        return fmt.size(value)
    return str(value) if isinstance(value, int) else f"{value:.6g}"
