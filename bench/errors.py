"""What bench can raise.

BenchError
├── InputError (ValueError)      an option, a config file or a folder is not usable
└── RunFailedError               the run ended early; what it measured is saved
"""


class BenchError(Exception):
    """Base of everything this package raises."""


class InputError(BenchError, ValueError):
    """An option, a config file or a folder is not usable as given."""


class RunFailedError(BenchError):
    """The run itself failed."""
