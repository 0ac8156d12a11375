"""What a comparison says in words."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from results import format as fmt
from results.comparison.observation import METRICS, ComparedMetric
from results.comparison.outcome import Challenger, MetricEffect, Outcome
from results.comparison.record import Comparison
from results.statistics.paired import MOST_DRAWS_PLANNED, Verdict

_CONNECTED = ("throughput", "device_time")


def letter(arm: str) -> str:
    """Return an arm as people call it: A, B, C."""
    return arm.upper()


def sentences(outcome: Outcome) -> list[str]:
    """Return one sentence of plain language for each challenger."""
    return [_sentence(outcome, challenger) for challenger in outcome.challengers]


def _sentence(outcome: Outcome, challenger: Challenger) -> str:
    effect = challenger.judged
    if effect.ratio is None:
        return f"{_without_ratio(outcome, challenger)}; {_basis(outcome)}."
    text = _claim(outcome, challenger)
    if effect.verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.DIFFERENT, Verdict.EQUIVALENT):
        text += _beside(challenger)
    return f"{text}; {_basis(outcome)}."


def _claim(outcome: Outcome, challenger: Challenger) -> str:
    effect, metric = challenger.judged, METRICS[challenger.judged.metric]
    b, a = letter(challenger.arm), letter(outcome.control)
    if effect.verdict == Verdict.INCONCLUSIVE:
        text = f"No verdict on {metric.label}: {b}'s is {span(effect)} {a}'s"
        if not outcome.at_look and outcome.design == "draws":
            return f"{text}, and no verdict was due after {_draws(outcome.draws)}"
        if effect.draws_needed is not None and effect.draws_needed > effect.draws:
            text += f"; about {fmt.count(effect.draws_needed)} draws would decide"
        elif effect.draws_needed is None and effect.draws > 1:
            text += f"; at this noise not even {fmt.count(MOST_DRAWS_PLANNED)} draws would decide"
        return text
    if effect.verdict == Verdict.EQUIVALENT:
        within = f"within {fmt.percent(outcome.margin)} ({span(effect)} {a}'s)"
        return f"{b}'s {metric.label} is the same as {a}'s {within}"
    return _difference(metric, effect, a, b)


def _difference(metric: ComparedMetric, effect: MetricEffect, a: str, b: str) -> str:
    how = change(effect)
    if _is_multiple(effect):
        return f"{b}'s {metric.label} is {how} {a}'s"
    if metric.is_latency:
        word = "sooner" if (effect.ratio or 1.0) < 1.0 else "later"
        whom = (
            "requests on average"
            if metric.per_mille is None
            else "half of the requests"
            if metric.per_mille == 500
            else f"{metric.per_mille / 10:g} % of requests"
        )
        return f"{b} answers {whom} {how} {word} than {a}"
    word = "more" if (effect.ratio or 1.0) > 1.0 else "less"
    if metric.name in ("throughput", "goodput"):
        within = " within the SLO" if metric.name == "goodput" else ""
        return (
            f"{b} answers {how} {'more' if word == 'more' else 'fewer'} requests{within} than {a}"
        )
    if metric.name == "device_time":
        return f"{b} takes {how} {word} device time a request than {a}"
    return f"{b}'s {metric.label} is {how} {'larger' if word == 'more' else 'smaller'} than {a}'s"


def _is_multiple(effect: MetricEffect) -> bool:
    """Whether a factor reads better than a percentage."""
    return (effect.ratio or 1.0) >= 2.0


def change(effect: MetricEffect) -> str:
    """Return a difference with its interval: 31 % (27-35 %), or 3.2 times (2.9-3.6)."""
    ratio, low, high = effect.ratio or 1.0, effect.low or 1.0, effect.high or 1.0
    if _is_multiple(effect):
        return f"{fmt.number(ratio)} times ({fmt.number(low)}-{fmt.number(high)})"
    ends = sorted((100.0 * (low - 1.0), 100.0 * (high - 1.0)), key=abs)
    if ratio < 1.0:
        ends = [-end for end in ends]
    decimals = 0 if abs(ends[1] - ends[0]) >= 2.0 else 1
    shown = [f"{end:.{decimals}f}" for end in ends]
    if shown[0] == shown[1]:
        return f"{shown[0]} %"
    between = f"{shown[0]} to {shown[1]}" if ends[0] < 0.0 else f"{shown[0]}-{shown[1]}"
    return f"{100.0 * abs(ratio - 1.0):.{decimals}f} % ({between} %)"


def span(effect: MetricEffect) -> str:
    """Return where a ratio lies, as a difference: between 3 % below and 12 % above."""
    low, high = (effect.low or 1.0) - 1.0, (effect.high or 1.0) - 1.0
    if low < 0.0 < high:
        return f"between {_share(low)} below and {_share(high)} above"
    side = "below" if low < 0.0 else "above"
    near, far = sorted((low, high), key=abs)
    return f"{_share(near)} to {_share(far)} {side}"


def _share(value: float) -> str:
    magnitude = 100.0 * abs(value)
    return f"{magnitude:,.0f} %" if magnitude >= 10.0 else f"{magnitude:.1f} %"


def _beside(challenger: Challenger) -> str:
    """Return what it costs or brings elsewhere: " at the same throughput"."""
    said = []
    for name in _CONNECTED:
        effect = challenger.effect(name)
        if effect is None or effect is challenger.judged or effect.ratio is None:
            continue
        if effect.verdict == Verdict.EQUIVALENT:
            said.append("at the same throughput" if name == "throughput" else "")
        elif effect.verdict != Verdict.INCONCLUSIVE:
            more = "more" if effect.ratio > 1.0 else "less"
            whose = "the" if _is_multiple(effect) else more
            said.append(f"with {change(effect)} {whose} {METRICS[name].label}")
    said = [text for text in said if text]
    return f" {' and '.join(said)}" if said else ""


def _without_ratio(outcome: Outcome, challenger: Challenger) -> str:
    judged = challenger.judged
    b, a = letter(challenger.arm), letter(outcome.control)
    of_b, of_a, n = judged.unable, judged.control_unable, judged.draws
    if not (of_a or of_b):
        label = METRICS[outcome.metric].label
        return f"No ratio of {label} is given: {judged.reason}"
    if of_a and of_b:
        return (
            f"This load is more than {a} could serve in {of_a} and {b} in {of_b} of {n} draws, so "
            "no latency is compared"
        )
    unable, able, count, saturated = (
        (b, a, of_b, challenger.saturated) if of_b else (a, b, of_a, challenger.control_saturated)
    )
    could = "could not" if judged.verdict == Verdict.INCONCLUSIVE else "cannot"
    how = "was saturated" if saturated >= count else "left too many requests unanswered"
    return (
        f"{unable} {could} sustain this load: it {how} in {count} of {n} draws, {able} in none; "
        "no latency ratio is given"
    )


def _basis(outcome: Outcome) -> str:
    if outcome.design == "blocks":
        return "one run each, same arrivals, paired by blocks of time"
    if outcome.design == "unpaired":
        return "one run each, different arrivals: unpaired, and weaker for it"
    return f"{_draws(outcome.draws)}, same arrivals"


def _draws(number: int) -> str:
    return "1 draw" if number == 1 else f"{number} draws"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether the comparison can be taken at its word, for the first line."""

    word: str
    good: bool
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """The whole in one line."""
        return self.word + (f": {', '.join(self.reasons)}" if self.reasons else "")


def standing(outcome: Outcome, *, interrupted: bool) -> Standing:
    """Return what its reader must know first."""
    reasons = outcome.caveats
    if interrupted:
        reasons = (f"interrupted after {_draws(outcome.draws)}", *reasons)
    if reasons:
        return Standing("WITH CAVEATS", good=False, reasons=reasons)
    return Standing("valid", good=True, reasons=())


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one challenger, as text."""

    metric: str
    control: str
    challenger: str
    change: str
    verdict: str


def rows(challenger: Challenger) -> list[Row]:
    """Return every compared metric of a challenger as text, the judged one first."""
    return [_row(effect) for effect in (challenger.judged, *challenger.others)]


def _row(effect: MetricEffect) -> Row:
    metric = METRICS[effect.metric]
    if effect.ratio is None or effect.low is None or effect.high is None:
        return Row(metric.label, "", "", effect.reason or fmt.NOT_MEASURED, effect.verdict)
    low, high = 100.0 * (effect.low - 1.0), 100.0 * (effect.high - 1.0)
    return Row(
        metric.label,
        metric.show(effect.control),
        metric.show(effect.challenger),
        f"{100.0 * (effect.ratio - 1.0):+,.1f} % ({low:+,.1f} to {high:+,.1f})",
        effect.verdict,
    )


def notes(outcome: Outcome) -> list[str]:
    """Return what the numbers rest on, for the foot of a table."""
    confidence = fmt.percent(1.0 - outcome.level)
    said = []
    if outcome.design == "draws":
        looks = ", ".join(str(look) for look in outcome.looks)
        only = " only, so that over all of these looks" if len(outcome.looks) > 1 else ":"
        said.append(
            f"Ratios are means over draws, with {confidence} intervals. A verdict is given after "
            f"{looks} draws{only} at most 5 % of equal arms are called different."
        )
    else:
        said.append(
            f"Intervals ({confidence}) are of these two runs: what another draw of the arrivals "
            "would give, and what changed in the machine between the runs, they do not know. Runs "
            "of less than 30 s get no verdict."
        )
    if len(outcome.challengers) > 1:
        a = letter(outcome.control)
        said.append(f"Each arm is compared with {a}; the level is divided by their number.")
    label = METRICS[outcome.metric].label
    said.append(
        f"{label[:1].upper()}{label[1:]} is judged; claims on the other metrics are held to "
        "Holm's correction over all of them."
    )
    return said


def arm_rows(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the arms and what they are."""
    return [(letter(arm), label) for arm, label in labels.items()]


_STYLES = {"better": "green", "worse": "red"}


def summary(comparison: Comparison) -> RenderableType:
    """Return the summary: what speaks against it, the sentences, what the arms are, the metrics."""
    record, outcome = comparison.record, comparison.outcome
    first = standing(outcome, interrupted=record.state == "interrupted")
    arms = Table.grid(padding=(0, 2))
    for name, label in arm_rows(record.labels):
        arms.add_row(Text(name, style="bold"), Text(label))
    return Group(
        Text(first.line, style="bold green" if first.good else "bold red"),
        *(Text(sentence, style="bold") for sentence in record.sentences),
        arms,
        *(_table(challenger, letter(outcome.control)) for challenger in outcome.challengers),
        *(Text(note, style="dim") for note in notes(outcome)),
    )


def _table(challenger: Challenger, control: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("metric", control, letter(challenger.arm), "change", "verdict"):
        table.add_column(column)
    for row in rows(challenger):
        style = _STYLES.get(row.verdict, "")
        cells = (row.metric, row.control, row.challenger, row.change, row.verdict)
        table.add_row(*(Text(cell, style=style if cell == row.verdict else "") for cell in cells))
    return table
