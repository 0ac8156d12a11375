"""One file a subcommand."""

import typer

from bench.commands import (
    bench,
    capacity,
    compare,
    doctor,
    export,
    models,
    profile,
    report,
    simulate,
    trace,
    tune,
)


def register(app: typer.Typer) -> None:
    """Add every subcommand to the application, in the order that `--help` lists them."""
    app.command("bench")(bench.bench)
    app.command("tune")(tune.tune)
    app.command("compare")(compare.compare)
    app.command("report")(report.report)
    app.command("profile")(profile.profile)
    app.command("simulate")(simulate.simulate)
    app.command("capacity")(capacity.capacity)
    app.command("export")(export.export)
    app.add_typer(trace.app, name="trace")
    app.command("models")(models.models)
    app.command("doctor")(doctor.doctor)
