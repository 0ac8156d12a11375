"""The command that this process was started with, to be written down beside what came of it."""

import re
import shlex
import sys


def command_line() -> str:
    """As a shell would take it again, passwords in URLs left out."""
    return shlex.join(["dynbatch", *map(_without_password, sys.argv[1:])])


def _without_password(argument: str) -> str:
    if "://" not in argument:
        return argument
    shown = re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", argument)
    return re.sub(r"([?&][^=&]*password)=[^&]*", r"\1=***", shown)
