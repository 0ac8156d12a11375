"""The exit codes of all commands.

Imports the standard library only, so that the entry point knows them before anything else is there.
"""

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from results.run.record import Run

OK = 0
FAILED = 1  # the run itself failed
INPUT = 2  # usage or input
NO = 3  # it ran, and the answer is no
INTERRUPTED = 130


class Interrupted(int):
    """Exit code 130 of a command that has more to say of it than that it was interrupted.

    Args:
        further: what was kept, or how to go on.
    """

    message: str

    def __new__(cls, further: str) -> Self:
        """The code, with its line."""
        code = super().__new__(cls, INTERRUPTED)
        code.message = f"interrupted; {further}"
        return code


def judged(run: "Run", *, strict: bool) -> int:
    """The code of a run that was carried out: 3 if an SLO is missed.

    Args:
        run: with its verdicts and findings.
        strict: whether one that is not valid, or an SLO that stays undecided, is a no as well.
    """
    from results.run.verdict import Decision, overall

    decision = overall(run.record.verdicts)
    if decision is Decision.MISSED:
        return NO
    unsure = decision is Decision.UNDECIDED or not run.record.valid
    return NO if strict and unsure else OK
