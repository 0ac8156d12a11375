"""dynbatch's own batcher, in Python: what was measured is what runs.

`DynamicBatcher.from_config` does the same from the file itself.
"""

from bench.export.contract import Rendered, Target, replicas
from bench.export.snippets import literal
from bench.settings import BatcherSettings, ModelSettings, Settings

_PLACING = ("device", "dtype")
# Said only where they are not what the batcher does anyway.
_ENGINE = ("engine", "captured_batch_sizes", "channels_last")


def render(settings: Settings) -> Rendered:
    """A function that makes the batcher for what you want batched.

    Raises:
        InputError: `device` is none.
    """
    replicas(settings)  # refuses a device that is none
    knobs = settings.batcher.model_dump(exclude_none=True)
    limit_ms = knobs.pop("execute_timeout_ms", None)
    model, plain = settings.model, ModelSettings()
    special = [key for key in _ENGINE if getattr(model, key) != getattr(plain, key)]
    arguments = {**knobs, **{key: getattr(model, key) for key in (*_PLACING, *special)}}
    imports = "DynamicBatcher" if limit_ms is None else "DynamicBatcher, FaultTolerance"
    lines = [
        f"from batching import {imports}",
        "",
        "",
        "def make_batcher(run):",
        '    """Batch `run`: a batching.Model, or a function of a list of payloads."""',
        "    return DynamicBatcher(",
        "        run,",
        *(f"        {name}={literal(value)}," for name, value in arguments.items()),
    ]
    if limit_ms is not None:
        lines.append(f"        faults=FaultTolerance(execute_timeout_ms={limit_ms!r}),")
    return Rendered("\n".join([*lines, "    )"]) + "\n")


TARGET = Target(
    name="dynbatch",
    server="dynbatch",
    carries=frozenset(BatcherSettings.model_fields),
    semantics=(),
    render=render,
)
