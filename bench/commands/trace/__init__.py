"""`dynbatch trace`: look at traces and make others from them. One file a subcommand."""

import typer

from bench.commands.trace import convert, fit, make, merge, scale, show, window

app = typer.Typer(no_args_is_help=True, help="Look at traces, and make others from them.")
app.command("show")(show.show)
app.command("make")(make.make)
app.command("convert")(convert.convert)
app.command("window")(window.window)
app.command("scale")(scale.scale)
app.command("merge")(merge.merge)
app.command("fit")(fit.fit)
