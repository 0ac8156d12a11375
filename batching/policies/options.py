"""What a policy is made from: the settings that any policy may have."""

from dataclasses import dataclass
from math import isfinite

from batching.errors import ConfigError
from batching.options import check_count


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """Settings of a policy, checked. A policy takes those it knows and ignores the others.

    Error messages name the settings as the command line and the config file do, in milliseconds.

    Attributes:
        max_batch_size: most requests in a batch; at least 1.
        batch_timeout_s: longest a request is held for company while a worker is free; at least 0.
        min_wait_s: shortest it is held, unless the batch is full; 0 to `batch_timeout_s`.
        preferred_batch_sizes: sizes that need not wait for more, strictly increasing, each from 1
            to `max_batch_size`.
        slo_s: longest a request may take from enqueueing to completion; above 0, or None.

    Raises:
        ConfigError: one is out of its range.
    """

    max_batch_size: int
    batch_timeout_s: float
    min_wait_s: float = 0.0
    preferred_batch_sizes: tuple[int, ...] = ()
    slo_s: float | None = None

    def __post_init__(self) -> None:
        check_count("max_batch_size", self.max_batch_size)
        if not (isfinite(self.batch_timeout_s) and self.batch_timeout_s >= 0):
            raise ConfigError(f"batch_timeout_ms must be >= 0, but got {_ms(self.batch_timeout_s)}")
        if not 0 <= self.min_wait_s <= self.batch_timeout_s:
            raise ConfigError(
                f"min_wait_ms must be between 0 and batch_timeout_ms "
                f"({_ms(self.batch_timeout_s)}), but got {_ms(self.min_wait_s)}"
            )
        self._check_preferred()
        if self.slo_s is not None and not (isfinite(self.slo_s) and self.slo_s > 0):
            raise ConfigError(f"slo_ms must be > 0, but got {_ms(self.slo_s)}")

    def _check_preferred(self) -> None:
        below = 0
        for size in self.preferred_batch_sizes:
            check_count("preferred_batch_sizes", size, least=None)
            if not below < size <= self.max_batch_size:
                raise ConfigError(
                    f"preferred_batch_sizes must be strictly increasing, each between 1 and "
                    f"max_batch_size ({self.max_batch_size}), "
                    f"but got {', '.join(map(str, self.preferred_batch_sizes))}"
                )
            below = size

    def needed_slo_s(self, policy: str) -> float:
        """The SLO, for a policy that cannot do without one.

        Raises:
            ConfigError: there is none.
        """
        if self.slo_s is None:
            raise ConfigError(f"policy {policy} needs slo_ms, but got none")
        return self.slo_s


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:g}"
