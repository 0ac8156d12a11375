"""What can be set about a batcher besides its policy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isfinite
from operator import index
from typing import Any, Protocol

from batching import user_code
from batching.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Admission:
    """Which requests are let in, and how long they may wait.

    Args:
        max_queue_size: most requests that may wait; a further one is refused. None: no limit.
        deadline_ms: how long a request may wait before it expires, unless it says so itself.
            None: for ever.
        max_starvation_ms: once a request has waited this long, the next batch is taken from where
            it waits.
    """

    max_queue_size: int | None = None
    deadline_ms: float | None = None
    max_starvation_ms: float = 1000.0

    def __post_init__(self) -> None:
        if self.max_queue_size is not None:
            check_count("max_queue_size", self.max_queue_size)
        check_ms("deadline_ms", self.deadline_ms)
        check_ms("max_starvation_ms", self.max_starvation_ms)


@dataclass(frozen=True, slots=True)
class FaultTolerance:
    """What happens when the model fails.

    Args:
        max_retries: how often a request that met a transient error is run again.
        retry_on: the errors that are transient: their types, or a test for one.
        retry_backoff_ms: wait before the first retry; doubled before each further one.
        retry_budget: retries may be at most this share of the requests that succeed (ten are
            always allowed), so that an outage is not made worse by retrying it.
        isolate: a batch that raises is run again in halves until only the culprit fails.
        execute_timeout_ms: a batch that runs longer is given up: its requests go to another
            replica, once, or fail. None: wait for ever.
    """

    max_retries: int = 0
    retry_on: tuple[type[BaseException], ...] | Callable[[BaseException], bool] = ()
    retry_backoff_ms: float = 10.0
    retry_budget: float = 0.1
    isolate: bool = True
    execute_timeout_ms: float | None = None

    def __post_init__(self) -> None:
        check_count("max_retries", self.max_retries, least=0)
        if not 0 <= self.retry_budget <= 1:
            raise ConfigError(f"retry_budget must be from 0 to 1, but got {self.retry_budget:g}")
        self._check_retry_on()
        check_ms("retry_backoff_ms", self.retry_backoff_ms, least=0.0)
        check_ms("execute_timeout_ms", self.execute_timeout_ms)

    def _check_retry_on(self) -> None:
        wanted: Any = self.retry_on
        if isinstance(wanted, (type, list, set, frozenset)):  # one type, or types in another form
            wanted = (wanted,) if isinstance(wanted, type) else tuple(wanted)
            object.__setattr__(self, "retry_on", wanted)
        types = wanted if isinstance(wanted, tuple) else ()
        wrong = [one for one in types if not _is_error_type(one)]
        if wrong or not (isinstance(wanted, tuple) or callable(wanted)):
            raise ConfigError(
                f"retry_on must be types of errors or a test for one, "
                f"but got {wrong[0] if wrong else wanted!r}"
            )

    def is_transient(self, error: BaseException) -> bool:
        """Whether running the request again may help; not so, if the test for it raises."""
        if isinstance(self.retry_on, tuple):
            return isinstance(error, self.retry_on)
        test = self.retry_on
        return bool(user_code.call("retry_on", lambda: bool(test(error)), otherwise=False))

    @property
    def execute_timeout_s(self) -> float:
        """The limit in seconds; infinite if there is none."""
        return inf if self.execute_timeout_ms is None else self.execute_timeout_ms / 1e3


class ArrivalRecorder(Protocol):
    """Writes down when requests arrive; `workloads.TraceRecorder` is one."""

    def record(self, at_s: float, payload: Any) -> None:
        """Note one arrival, on the batcher's clock; called by whoever submits, so it is quick."""
        ...


@dataclass(slots=True)
class RetryBudget:
    """A bucket of retries: filled by successes, emptied by retries.

    The idea is that of retry budgets in RPC systems: a client that retries a fixed share of its
    traffic adds that share to an overload, never a multiple of it.
    """

    share: float
    _tokens: float = field(default=10.0)

    def earn(self, successes: int) -> None:
        """Add the share of these successes, up to what a hundred retries cost."""
        self._tokens = min(100.0, self._tokens + self.share * successes)

    def spend(self) -> bool:
        """Pay for one retry; False if there is nothing left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def check_count(name: str, value: Any, *, least: int | None = 1) -> int:
    """The integer that `value` is: a plain one, or one of numpy, but no float and no truth value.

    Raises:
        ConfigError: it is none, or less than `least`.
    """
    try:
        count = index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise ConfigError(f"{name} must be an integer, but got {value!r}")
    if least is not None and count < least:
        raise ConfigError(f"{name} must be >= {least}, but got {value}")
    return count


def check_ms(name: str, value: float | None, *, least: float | None = None) -> None:
    """Check a time: finite, and above 0 or at least `least`.

    Raises:
        ConfigError: it is not.
    """
    if value is None:
        return
    try:
        right = isfinite(value) and (value > 0 if least is None else value >= least)
    except TypeError:
        right = False
    if not right:
        bound = "> 0" if least is None else f">= {least:g}"
        raise ConfigError(f"{name} must be {bound}, but got {_shown(value)}")


def _is_error_type(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else repr(value)
