"""`dynbatch export`: a setting as a file for the server that is to run it."""

import sys

from bench import options
from bench.exits import OK


def export(
    config: options.ConfigFile,
    to: options.ExportTarget,
    out: options.ExportOut = None,
    quiet: options.Quiet = False,
) -> int:
    """Write a config file's setting in another server's words, with what that changes.

    Where the server differs from the batcher that was measured is in comments on top; what it
    cannot carry is left out, and said on stderr.
    """
    from bench.config import load_settings
    from bench.console import message_console
    from bench.errors import RunFailedError
    from bench.exporting import export

    exported = export(load_settings(config, {}), to, config.name)
    console = message_console(quiet=quiet)
    for warning in exported.warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if out is None:
        sys.stdout.write(exported.text)
        return OK
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(exported.text, encoding="utf-8")
    except OSError as error:
        raise RunFailedError(f"{out}: cannot be written: {error.strerror}") from None
    console.print(f"written: {out}", markup=False, soft_wrap=True)
    return OK
