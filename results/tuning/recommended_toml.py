"""`recommended.toml`: the recommended setting as a config file, with what is known of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results.files import write_text
from results.toml import comment, toml_text
from results.tuning.device_record import MeasuredArm
from results.tuning.metrics import RUN_METRICS, Metrics
from results.tuning.record import TuningRecord
from results.tuning.wording import reservations, validity_of

RECOMMENDED = "recommended.toml"
# What readers of settings leave aside.
TABLE = "recommendation"


def write_recommendation(folder: Path, record: TuningRecord) -> Path | None:
    """Write the file whole; None where there is nothing to recommend.

    What an earlier part of the tuning recommended does not stand beside that.

    Raises:
        OSError: it cannot be written.
        ValueError: something in it is not Unicode.
    """
    path = folder / RECOMMENDED
    if record.config is None:
        path.unlink(missing_ok=True)
        return None
    write_text(path, recommendation(record))
    return path


def recommendation(record: TuningRecord) -> str:
    """The text of the file: a gist in comments, the settings, and what is known of them."""
    known = _known(record)
    gist = "\n".join(" ".join(line.split()) for line in _gist(record, known))
    return comment(gist) + "\n" + toml_text({**(record.config or {}), TABLE: known})


def _known(record: TuningRecord) -> dict[str, Any]:
    """The table: metrics by their names in run.json, gains, other arrivals, and what to know."""
    verified, chosen = record.verified, record.chosen
    measured = None if verified is None else verified.measured_of(record.recommended)
    label = "" if verified is None else verified.label
    gains = () if verified is None else verified.gains
    own = chosen is not None and chosen == record.asked.best
    return {
        "sentence": record.sentence,
        "command": record.command,
        "created": None if record.created is None else record.created.isoformat(),
        "objective": record.objective,
        "basis": "simulated" if measured is None and record.simulated else "measured",
        "confidence": 0.95,
        "device": record.device_name or record.device,
        "notes": [*reservations(record), _basis(record, measured)],
        "versions": record.versions,
        "expected": _expected(chosen.metrics if chosen else Metrics(), measured),
        "gains": [
            {**gain.model_dump(include={"over", "ratio", "low", "high", "verdict", "draws"}),
             "metric": label}
            for gain in gains
        ],
        "sensitivity": [
            {"case": f"{case.case} ({case.note})" if case.note else case.case,
             "expected": _expected(case.metrics, None)}
            for case in record.cases
            if own
        ],
    }  # fmt: skip


def _expected(metrics: Metrics, measured: MeasuredArm | None) -> dict[str, Any]:
    """Each metric, with its interval where it was measured in runs."""
    if measured is not None:
        return {
            RUN_METRICS[name]: interval.model_dump()
            for name, interval in measured.metrics.items()
            if name in RUN_METRICS
        }
    known = metrics.model_dump()
    return {name: {"value": known[own]} for own, name in RUN_METRICS.items() if own in known}


def _basis(record: TuningRecord, measured: MeasuredArm | None) -> str:
    """Where the expected metrics are from."""
    verified = record.verified
    if measured is None or verified is None:
        return f"expected metrics are {'by simulation' if record.simulated else 'measured'}"
    return (
        f"expected metrics were measured on {record.device} at {verified.rate_rps:.6g} req/s, "
        f"{validity_of(measured, verified.window_s)}"
    )


def _gist(record: TuningRecord, known: Mapping[str, Any]) -> list[str]:
    on = record.device_name or record.device
    when = "" if record.created is None else f", {record.created:%Y-%m-%d}"
    expected, basis = known["expected"], known["notes"][-1]
    return [
        record.sentence,
        f"Found by: {record.command}",
        f"On: {on}{when}; {known['basis']}, for {record.objective}.",
        f"{basis[:1].upper()}{basis[1:]}:",
        *(f"Expected {name}: {_span(estimate)}" for name, estimate in expected.items()),
        *(f"Against {gain['over']}: {_gain(gain)}" for gain in known["gains"]),
        *(
            f"Simulated, {case['case']}: {name} {_span(case['expected'][name])}"
            for case in known["sensitivity"]
            for name in ("latency_s.p99",)
            if name in case["expected"]
        ),
        f"Use it: dynbatch bench --config {RECOMMENDED}",
        f'Serve with it: DynamicBatcher.from_config("{RECOMMENDED}", run)',
    ]


def _gain(gain: Mapping[str, Any]) -> str:
    if gain["ratio"] is None:
        return f"{gain['metric']} {gain['verdict']}"
    ratio = _span({**gain, "value": gain["ratio"]})
    return f"{gain['metric']} x {ratio}, {gain['verdict']}"


def _span(estimate: Mapping[str, Any]) -> str:
    if estimate.get("low") is None or estimate.get("high") is None:
        return f"{estimate['value']:.4g}"
    return f"{estimate['value']:.4g} ({estimate['low']:.4g} to {estimate['high']:.4g})"
