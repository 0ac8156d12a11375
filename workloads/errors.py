"""What can go wrong here, as one tree; every message is one line.

WorkloadError(ValueError)
|-- TraceFileError   a file that is missing, unreadable, or no trace
|-- TraceError       columns that are no trace, or a trace that cannot be played as asked
`-- ProcessError     an arrival process outside its valid range, or a draw out of reach
"""


class WorkloadError(ValueError):
    """Any error of this package; the message says what was expected and what came."""


class TraceFileError(WorkloadError):
    """A trace file could not be found, read, understood or written."""


class TraceError(WorkloadError):
    """The columns of a trace contradict each other, or a trace cannot be played as asked."""


class ProcessError(WorkloadError):
    """A parameter of an arrival process, or of a draw from it, is outside its valid range."""
