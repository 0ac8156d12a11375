"""What batching can raise.

BatchingError
├── ConfigError (ValueError)     an argument or a config value is out of its range
│   ├── ModelError               no such model, or it could not be built or loaded
│   └── DeviceError              no such device here
├── BatcherClosedError           submitted before start or after stop
└── RequestError                 what awaiting one request may raise
    ├── BatchExecutionError      its batch raised; the original error is the cause
    ├── RequestExpiredError      it was given up while it waited, because it would be too late
    └── RequestCancelledError    the batcher stopped without running it
"""


class BatchingError(Exception):
    """Base of everything this package raises."""


class ConfigError(BatchingError, ValueError):
    """An argument or a config value is out of its range."""


class ModelError(ConfigError):
    """No such model, or it could not be built or its weights loaded."""


class DeviceError(ConfigError):
    """The device does not exist here."""


class BatcherClosedError(BatchingError):
    """A request came before the batcher was started or after it was stopped."""


class RequestError(BatchingError):
    """Base of the errors that end one request."""


class BatchExecutionError(RequestError):
    """The model raised while it ran this request's batch; the cause is the model's own error."""


class RequestExpiredError(RequestError):
    """The request was given up while it waited: its answer would have come too late."""


class RequestCancelledError(RequestError):
    """The batcher was stopped without draining and never ran this request."""
