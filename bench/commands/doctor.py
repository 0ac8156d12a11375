"""`dynbatch doctor`: what this machine is, and whether results from it can be believed."""

import json
import sys

from bench.commands import options
from bench.exit_codes import NO, OK


def doctor(as_json: options.AsJson = False, quiet: options.Quiet = False) -> int:
    """Look at this machine for two seconds: what can be measured here, and is it fit for it now?

    Exit code 3 if something makes results unfit: noisy cores, other programs, a throttled GPU.
    """
    from bench.console import message_console, output_console
    from bench.doctor.accelerators import look
    from bench.doctor.diagnosis import abilities, complaints
    from bench.doctor.machine import watch_machine
    from bench.doctor.report import as_json as in_json
    from bench.doctor.report import is_fit, shown
    from bench.hardware.environment import describe_environment

    message_console(quiet=quiet or as_json).print("looking at this machine for two seconds")
    machine = watch_machine()
    accelerators = look()
    environment = describe_environment(torch_threads=None, gpu_index=None)
    environment["gpu"] = next((gpu.facts["name"] for gpu in accelerators.found), None)
    found = (
        environment,
        machine,
        accelerators,
        abilities(machine, accelerators),
        complaints(machine, accelerators),
    )
    if as_json:
        sys.stdout.write(json.dumps(in_json(*found), indent=2) + "\n")
    elif not quiet:
        output_console().print(shown(*found))
    return OK if is_fit(found[-1]) else NO
