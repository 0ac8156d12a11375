"""The part `tune`: the setting for the most load within the SLO, by `dynbatch tune`."""

import json
import shlex
import shutil
import sys

from bench.exit_codes import NO
from tests.reference.folder import TUNING
from tests.reference.plan import SLO

RECOMMENDED = "recommended.toml"


def run(context):
    """Search in simulation, or go on with it; keep `tune.json` and `recommended.toml`.

    The device is not raced on, which takes minutes: the part `capacity` measures what is found. So
    it needs the processor alone, and runs while the device is busy with something else.
    """
    from bench import cli

    engine = context.engine
    profile = context.profile_of(engine)
    command = command_of(context.plan, engine)
    shown = shlex.join(["dynbatch", *command, "--profile", profile.stem])
    out = context.folder.path / TUNING
    if (out / "request.json").exists():
        arguments = ["tune", "--resume", str(out), "--no-race", "--quiet"]
    else:
        arguments = [*command, "--profile", str(profile), "--out", str(out), "--quiet"]
        arguments.append(f"--budget={context.seconds:.0f}s")
    sys.argv = ["dynbatch", *arguments]
    code = cli.run()
    if code not in {0, NO}:
        sys.exit(code)
    found = json.loads((out / "tune.json").read_text(encoding="utf-8"))
    config = out / RECOMMENDED
    if config.exists():
        text = config.read_text(encoding="utf-8").replace(shlex.join(sys.argv), shown)
        context.folder.write_text(RECOMMENDED, text)
    content = {"command": shown, "engine": engine, "met": code == 0, "found": found}
    context.folder.write("tune", content)
    shutil.rmtree(out)


def command_of(plan, engine):
    """`dynbatch tune` with the options that decide what is found."""
    engines = [] if engine == "eager" else ["--engine", engine]
    return [
        "tune", "--model", plan.model, "--device", plan.device, "--dtype", plan.dtype, *engines,
        "--trace", "bursty.json", "--slo", SLO, "--search", "in_flight=1,2",
        "--trials", "30", "--patience", "15", "--no-race",
    ]  # fmt: skip
