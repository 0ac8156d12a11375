"""Batch times of one model in one engine, as `dynbatch profile` measures them."""

import shlex

from rich.console import Console

from batching import RealClock
from batching.profiles import load_profile, save_profile
from batching.profiles.plan import sizes_up_to
from bench.profiling.measure import load_subject, measure_quietly
from bench.profiling.summary import summarise, work_of
from bench.settings import load_settings


def run(context, model, dtype, engine):
    """Measure; keep the profile, and the gist of it in `profile.json` or `models.json`.

    The gist is kept as soon as there is one, and again when the work of a request, which may take
    a while to count, is known too. An interrupt leaves a profile of every size that was measured.
    """
    path = context.profile_of(engine, model, dtype)
    clock = RealClock()
    settings = load_settings(None, context.plan.model_settings(engine, model, dtype))
    loaded, placement = load_subject(settings.model, clock)
    part = context.step.part
    key = engine if part == "profile" else f"{model} {dtype} {engine}"
    earlier = context.folder.read(part).get(key)
    if earlier and not earlier["interrupted"] and path.exists():  # the work alone is not known
        found, own = load_profile(path), {name: earlier[name] for name in ("command", "profile")}
        loaded.prepare(placement)
    else:
        found = measure_quietly(
            loaded,
            placement,
            clock,
            Console(quiet=True),
            max_batch_size=context.plan.profiled,
            budget_s=context.seconds,
        )
        save_profile(found, path)
        command = shlex.join(command_of(context.plan, model, dtype, engine, context.seconds))
        own = {"command": command, "profile": path.stem}
        context.folder.add(part, key, {**own, **gist(found, summarise(found))})
    if found.interrupted:
        return f"interrupted: of {len(found.sizes)} sizes fewer samples than are due"
    work = work_of(loaded, placement, clock)
    context.folder.add(part, key, {**own, **gist(found, summarise(found, work))})
    return ""


def command_of(plan, model, dtype, engine, seconds):
    """`dynbatch profile` with the options that decide what is measured."""
    engines = [] if engine == "eager" else ["--engine", engine]
    return [
        "dynbatch", "profile", "--model", model, "--device", plan.device, "--dtype", dtype,
        *engines, "--max-batch-size", str(plan.profiled), "--budget", f"{seconds:.0f}s",
    ]  # fmt: skip


def gist(profile, summary):
    """What was said of a profile, with the sizes that a table would show, and the best one."""
    powers, between, _ = sizes_up_to(profile.max_batch_size)
    shown = {*powers, *between, profile.peak_batch_size}
    summary["sizes"] = [size for size in summary["sizes"] if size["batch_size"] in shown]
    return {"created": profile.created, "versions": dict(profile.subject.versions), **summary}
