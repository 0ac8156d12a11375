"""Exit codes of every command."""

OK = 0
FAILED = 1  # the run itself failed
INPUT = 2  # usage or input
NO = 3  # it ran, and the answer is no
INTERRUPTED = 130
