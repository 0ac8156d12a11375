"""`dynbatch export`: a setting as a file for the server that is to run it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.commands import options
from bench.exit_codes import OK

ConfigFile = Annotated[
    Path,
    typer.Argument(
        help="TOML file: recommended.toml, the folder of a tuning that has one, or any file that "
        "--config takes.",
        metavar="CONFIG.toml",
        show_default=False,
    ),
]
ExportTarget = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="SERVER",
        help="triton, ray-serve, litserve, bentoml, torchserve or dynbatch.",
        rich_help_panel=options.OUTPUT,
    ),
]
ExportDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="What the server runs on, in place of the file's device: cpu, cuda[:index], or "
        "several; auto is what this machine has.",
        rich_help_panel=options.OUTPUT,
    ),
]
ExportOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="The file to write; default stdout.",
        rich_help_panel=options.OUTPUT,
    ),
]


def export(
    config: ConfigFile,
    to: ExportTarget,
    device: ExportDevice = None,
    out: ExportOut = None,
    quiet: options.Quiet = False,
) -> int:
    """Write a config file's setting in another server's words, with what that changes.

    Where the server differs from the batcher that was measured is in comments on top; what it
    cannot carry is left out, and said on stderr.
    """
    from bench.console import message_console
    from bench.errors import RunFailedError
    from bench.export import export
    from bench.settings import load_settings

    config = _file(config)
    exported = export(load_settings(config, {"device": device}), to, config.name)
    console = message_console(quiet=quiet)
    for warning in exported.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    if out is None:
        sys.stdout.write(exported.text)
        return OK
    new = "" if out.parent.exists() else ", in a new folder"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(exported.text, encoding="utf-8")
    except OSError as error:
        raise RunFailedError(f"{out}: cannot be written: {error.strerror}") from None
    console.print(f"written: {out}{new}", soft_wrap=True)
    return OK


def _file(config: Path) -> Path:
    """The file itself, or the recommendation in a tuning's folder.

    Raises:
        InputError: There is none in the folder.
    """
    from bench.errors import InputError
    from results.tuning.recommended_toml import RECOMMENDED

    if not config.is_dir():
        return config
    if not (config / RECOMMENDED).is_file():
        raise InputError(
            f"config must be a TOML file, or the folder of a tuning that has {RECOMMENDED}, but "
            f"{config} has none"
        )
    return config / RECOMMENDED
