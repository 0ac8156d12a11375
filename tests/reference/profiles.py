"""Batch times of one model in one engine, by `dynbatch profile`."""

import contextlib
import io
import json
import shlex
import sys

from batching.profiles import load_profile
from batching.profiles.plan import sizes_up_to


def run(context, model, dtype, engine):
    """Measure; keep the profile, its picture, and the gist in `profile.json` or `models.json`."""
    from bench import cli

    path = context.profile_of(engine, model, dtype)
    command = command_of(context.plan, model, dtype, engine, context.seconds)
    sys.argv = ["dynbatch", *command, "--quiet", "--json", "--out", str(path)]
    # It alone knows the work of a request, since the model is loaded there.
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = cli.run()
    if code != 0:
        sys.exit(code)
    shown = ["dynbatch", *command, "--out", path.name]
    content = {
        "command": shlex.join(shown),
        **gist(load_profile(path), json.loads(told.getvalue())),
        "profile": path.stem,
    }
    own = context.step.part == "profile"
    key = engine if own else f"{model} {dtype} {engine}"
    context.folder.add("profile" if own else "models", key, content)


def command_of(plan, model, dtype, engine, seconds):
    """`dynbatch profile` with the options that decide what is measured."""
    engines = [] if engine == "eager" else ["--engine", engine]
    return [
        "profile", "--model", model, "--device", plan.device, "--dtype", dtype, *engines,
        "--max-batch-size", str(plan.profiled), "--budget", f"{seconds:.0f}s",
    ]  # fmt: skip


def gist(profile, summary):
    """What was said of a profile, with the sizes that a table would show, and the best one."""
    powers, between, _ = sizes_up_to(profile.max_batch_size)
    shown = {*powers, *between, profile.peak_batch_size}
    summary["sizes"] = [size for size in summary["sizes"] if size["batch_size"] in shown]
    return {"created": profile.created, "versions": dict(profile.subject.versions), **summary}
