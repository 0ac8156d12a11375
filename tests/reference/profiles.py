"""Batch times of one model in one engine, by `dynbatch profile`."""

import shlex
import sys

from batching.profiles import load_profile
from batching.profiles.plan import sizes_up_to
from bench.profiling import summarise


def run(context, model, dtype, engine):
    """Measure; keep the profile, its picture, and the gist in `profile.json` or `models.json`."""
    from bench import cli

    path = context.profile_of(engine, model, dtype)
    command = command_of(context.plan, model, dtype, engine, context.seconds)
    sys.argv = ["dynbatch", *command, "--quiet", "--out", str(path)]
    code = cli.run()
    if code != 0:
        sys.exit(code)
    shown = ["dynbatch", *command, "--out", path.name]
    content = {"command": shlex.join(shown), "profile": path.stem, **gist(load_profile(path))}
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


def gist(profile):
    """The summary, with the sizes that a table would show."""
    summary = summarise(profile)
    powers, between, _ = sizes_up_to(profile.max_batch_size)
    shown = {*powers, *between}
    summary["sizes"] = [size for size in summary["sizes"] if size["batch_size"] in shown]
    return {"created": profile.created, "versions": dict(profile.subject.versions), **summary}
