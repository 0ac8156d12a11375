"""What a setting of the batcher does under some arrivals, simulated or measured."""

import math
from typing import Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

STATISTICS = ("p50", "p90", "p95", "p99", "p99.9", "mean")
# How run.json calls the metrics of a setting.
RUN_METRICS = {
    "p50_s": "latency_s.p50",
    "p99_s": "latency_s.p99",
    "mean_s": "latency_s.mean",
    "throughput_rps": "throughput_rps",
    "device_s_per_request": "device.busy_s_per_request",
    "busy_fraction": "device.busy_fraction",
    "energy_j_per_request": "device.energy_j_per_request",
    "mean_batch_size": "batch.mean_size",
}


class Part(BaseModel):
    """Read tolerantly: what a newer version added is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Metrics(Part):
    """Metrics of a setting, None where one has no value, as a latency where a queue only grows.

    Attributes:
        offered_rps: the load.
        limit_rps: the throughput at which the setting saturates.
        p50_s .. p99_9_s, mean_s: latency of all requests, an unanswered one counting as infinite.
        device_s_per_request: device time for each completed request.
        energy_j_per_request: the same of energy.
        busy_fraction: share of the time that the workers run batches.
        throughput_rps: completed requests per second.
        mean_batch_size: over the batches.
        answered: share of the requests that completed.
        late_share: share of the requests that violate the SLO.
        ended: why a run on the device was ended early, so that nothing else is known of it.
        ended_at_s: when, seconds from its start.
    """

    offered_rps: float | None = None
    limit_rps: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    p99_9_s: float | None = Field(None, validation_alias=AliasChoices("p99_9_s", "p99.9_s"))
    mean_s: float | None = None
    device_s_per_request: float | None = None
    energy_j_per_request: float | None = None
    busy_fraction: float | None = None
    throughput_rps: float | None = None
    mean_batch_size: float | None = None
    answered: float | None = None
    late_share: float | None = None
    ended: str | None = None
    ended_at_s: float | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    @model_serializer(mode="wrap")
    def _known(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in fields(self).items() if value is not None}

    def latency_s(self, statistic: str) -> float | None:
        """A statistic of latency by its name: "p99", "p99.9" or "mean"."""
        value: float | None = getattr(self, latency_field(statistic))
        return value

    def only(self, *names: str) -> "Metrics":
        """These metrics alone."""
        return Metrics(**{name: getattr(self, name) for name in names})


def latency_field(statistic: str) -> str:
    """The field that holds a statistic of latency: "p99.9" is in `p99_9_s`."""
    return f"{statistic.replace('.', '_')}_s"
