"""What batching can raise.

BatchingError
├── ConfigError (ValueError)     an argument or a config value is out of its range
│   ├── ModelError               no such model, or it could not be built or loaded
│   ├── DeviceError              no such device here
│   └── ProfileError             a service profile cannot be read, or does not cover what is asked
├── BatcherClosedError           submitted before start or after stop, or in a forked child
├── WrongThreadError             a batcher's own thread was to wait for that batcher
├── WrongOutputCountError        the model returned more or fewer results than it got payloads
└── RequestError                 what submitting or awaiting one request may raise
    ├── QueueFullError           refused at once: the queue is at its limit
    ├── BatchExecutionError      the model raised on it; the original error is the cause
    ├── ExecuteTimeoutError      the model did not return in time
    ├── WorkerDiedError          the worker that had it in hand died, twice
    ├── RequestExpiredError      given up while it waited, because it would be too late
    └── RequestCancelledError    cancelled by its caller, or the batcher stopped without running it
"""

from typing import Any

_LONGEST = 300


def describe(error: BaseException) -> str:
    """An error on one line, whatever it is: a user's exception may fail even at being printed."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - see above
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_paragraph(error: BaseException) -> str:
    """An error on one line without the advice that long ones go on with."""
    text = " ".join(str(error).strip().partition("\n\n")[0].split())
    return f"{type(error).__name__}: {text[:_LONGEST]}" if text else type(error).__name__


class BatchingError(Exception):
    """Base of everything this package raises."""


class ConfigError(BatchingError, ValueError):
    """An argument or a config value is out of its range."""


class ModelError(ConfigError):
    """No such model, or it could not be built or its weights loaded."""


class DeviceError(ConfigError):
    """The device does not exist here."""


class ProfileError(ConfigError):
    """A service profile cannot be read, is of something else, or does not cover what is asked."""


class BatcherClosedError(BatchingError):
    """A request came before the batcher was started, after it was stopped, or in a forked child."""


class WrongThreadError(BatchingError):
    """A batcher's own thread was asked to wait for that batcher, which would never end."""


class WrongOutputCountError(BatchingError):
    """The model returned more or fewer results than it got payloads; the cause of a failure."""


class RequestError(BatchingError):
    """Base of the errors that end one request."""


class QueueFullError(RequestError):
    """The request was refused: `max_queue_size` requests wait already.

    Attributes:
        retry_after_s: an estimate of when there will be room: the backlog over the recent rate.
        request: the refused request, for a log.
    """

    def __init__(self, message: str, retry_after_s: float, request: Any = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.request = request


class BatchExecutionError(RequestError):
    """The model raised when it ran this request; the cause is the model's own error."""


class ExecuteTimeoutError(RequestError):
    """The model did not return within `execute_timeout_ms`."""


class WorkerDiedError(RequestError):
    """The worker that had the request in hand died, and so did the one it was given to next."""


class RequestExpiredError(RequestError):
    """The request was given up while it waited: its answer would have come too late."""


class RequestCancelledError(RequestError):
    """The request was cancelled before it had a result."""
