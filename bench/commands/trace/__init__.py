"""`dynbatch trace`: look at traces and make others from them. One file a subcommand."""

import typer

from bench.commands.trace import merge, scale, window

app = typer.Typer(no_args_is_help=True, help="Look at traces, and make others from them.")
app.command("window")(window.window)
app.command("scale")(scale.scale)
app.command("merge")(merge.merge)
