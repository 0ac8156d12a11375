"""What the doctor found, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.doctor.accelerators import Accelerator, Accelerators
from bench.doctor.diagnosis import Ability, Complaint
from bench.doctor.machine import Machine, Spread
from results import format as fmt


def as_json(
    environment: dict[str, Any],
    machine: Machine,
    accelerators: Accelerators,
    measurable: Sequence[Ability],
    findings: Sequence[Complaint],
) -> dict[str, Any]:
    """Everything, in seconds and bytes; null for what is not told."""
    return {
        "fit": is_fit(findings),
        "findings": [asdict(finding) for finding in findings],
        "environment": environment,
        "machine": asdict(machine),
        "devices": {gpu.device: _device(gpu) for gpu in accelerators.found},
        "measurable": [asdict(ability) for ability in measurable],
    }


def is_fit(findings: Sequence[Complaint]) -> bool:
    """Whether what is measured now can be believed, as far as the machine goes."""
    return not any(finding.unfit for finding in findings)


def _device(gpu: Accelerator) -> dict[str, Any]:
    state = {name: None if isnan(value) else value for name, value in gpu.state.items()}
    others = gpu.others
    return {
        **gpu.facts,
        **state,
        "gpu_other_processes": None if isnan(others.count) else others.count,
        "gpu_other_bytes": None if isnan(others.memory_bytes) else others.memory_bytes,
    }


def shown(
    environment: dict[str, Any],
    machine: Machine,
    accelerators: Accelerators,
    measurable: Sequence[Ability],
    findings: Sequence[Complaint],
) -> RenderableType:
    """The same for a terminal: the verdict, the machine, what can be measured, what is wrong."""
    fit = is_fit(findings)
    verdict = "fit to measure" if fit else "NOT FIT: what is measured now is not to be believed"
    return Group(
        Text(verdict, style="bold green" if fit else "bold red"),
        _facts(environment, machine, accelerators),
        Text("What can be measured here", style="bold"),
        _abilities(measurable),
        *(_finding(finding) for finding in findings),
    )


def _finding(finding: Complaint) -> Text:
    message = finding.message
    if message.split(" ", 1)[0].isalpha():  # but the name of a device stays as it is
        message = message[:1].upper() + message[1:]
    return Text.assemble((f"{message}. ", "bold" if finding.unfit else ""), finding.remedy)


def _facts(
    environment: dict[str, Any], machine: Machine, accelerators: Accelerators
) -> RenderableType:
    packages = ", ".join(f"{name} {found}" for name, found in environment["packages"].items())
    threads = max(1, machine.cores - 1)
    rows = [
        (
            "machine",
            f"{environment['cpu']}, {fmt.count(machine.cores)} core{'s' * (machine.cores > 1)}, "
            f"{fmt.size(machine.memory_bytes)} of memory, {fmt.size(machine.available_bytes)} free",
        ),
        ("software", f"{environment['platform']}, Python {environment['python']}, {packages}"),
        (
            "on the CPU",
            f"{threads} torch thread{'s' * (threads > 1)}, "
            + ("one core left to the batcher" if machine.cores > 1 else "shared with the batcher"),
        ),
        (
            "timer",
            f"resolution {fmt.duration(machine.resolution_s)}; waits end {_late(machine.timer_s)}",
        ),
        ("stalls", f"an idle process is woken {_late(machine.stall_s)}"),
        (
            "others",
            f"other programs use {fmt.number(round(machine.others_cores, 3))} cores "
            f"(watched for {fmt.duration(machine.watched_s)})",
        ),
    ]
    rows += [(gpu.device, _in_words(gpu)) for gpu in accelerators.found]
    if not accelerators.found:
        rows.append(("GPU", "none that torch can use"))
    return _table(rows)


def _late(spread: Spread) -> str:
    return (
        f"{fmt.duration(spread.p50)} late (median), {fmt.duration(spread.p99)} at p99, "
        f"{fmt.duration(spread.max)} at most"
    )


def _in_words(gpu: Accelerator) -> str:
    facts = gpu.facts
    said = [
        str(facts["name"]),
        _told(facts.get("memory_bytes"), fmt.size),
        _told(facts.get("driver"), lambda driver: f"driver {driver}"),
        _told(facts.get("power_limit_w"), lambda limit: f"power limit {fmt.watts(limit)}"),
        _told(facts.get("sm_clock_max_mhz"), lambda clock: f"clock up to {fmt.megahertz(clock)}"),
        _told(facts.get("pcie"), lambda pcie: f"PCIe {pcie}"),
        _told(facts.get("ecc_mode"), lambda on: f"ECC {'on' if on else 'off'}"),
        _told(facts.get("mig_mode"), lambda on: f"MIG {'on' if on else 'off'}"),
        f"NVML: {gpu.why_not}" if gpu.why_not else "",
    ]
    return ", ".join(part for part in said if part)


def _told(value: Any, show: Any) -> str:
    return "" if value is None else str(show(value))


def _abilities(measurable: Sequence[Ability]) -> RenderableType:
    """One row for what can be measured, and one for each reason why the rest cannot."""
    rows = [(ability.what, ability.how) for ability in measurable if ability.possible]
    missing = [ability for ability in measurable if not ability.possible]
    for reason in dict.fromkeys(ability.how for ability in missing):
        names = ", ".join(ability.what for ability in missing if ability.how == reason)
        rows.append(("not measured", f"{names}: {reason}"))
    return _table(rows)


def _table(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row(name, Text(text))
    return table
