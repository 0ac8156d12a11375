"""The errors of `results`.

    ResultsError(ValueError)
    ├── InvalidInputError     an argument is out of its range
    ├── LogError              a log does not have the columns or values it must have
    └── RunError              something about a run folder
        ├── RunNotFoundError  there is no run there
        ├── RunExistsError    there is one already
        ├── RunVersionError   it was written by another version of the format
        ├── RunCorruptError   a file of it is missing or damaged
        └── NotAnalysedError  its metrics have not been computed

Every message is one line.
"""


class ResultsError(ValueError):
    """Any error that `results` raises on purpose."""


class InvalidInputError(ResultsError):
    """An argument is out of its range."""


class LogError(ResultsError):
    """A log does not have the columns or values it must have."""


class RunError(ResultsError):
    """Something is wrong with a run folder."""


class RunNotFoundError(RunError):
    """There is no run in that folder."""


class RunExistsError(RunError):
    """The folder holds a run already, which is never overwritten."""


class RunVersionError(RunError):
    """The run was written by another version of the format."""


class RunCorruptError(RunError):
    """A file of the run is missing or damaged."""


class NotAnalysedError(RunError):
    """The run's metrics have not been computed yet."""
