"""One file a subcommand."""

import typer

from bench.commands import bench, models, profile, report, trace


def register(app: typer.Typer) -> None:
    """Add every subcommand to the application, in the order that `--help` lists them."""
    app.command("bench")(bench.bench)
    app.command("report")(report.report)
    app.command("profile")(profile.profile)
    app.add_typer(trace.app, name="trace")
    app.command("models")(models.models)
