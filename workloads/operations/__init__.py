"""Other traces from listed ones: another rate, a part of one, several together."""

from workloads.operations.burstiness import contrasted
from workloads.operations.merging import concatenated, merged, without_tokens
from workloads.operations.scaling import RATE_BY, RateMethod, rate_method, superposed, to_rate
from workloads.operations.windows import PICKS, Window, WindowRule, pick_windows, window_at

__all__ = [
    "PICKS",
    "RATE_BY",
    "RateMethod",
    "Window",
    "WindowRule",
    "concatenated",
    "contrasted",
    "merged",
    "pick_windows",
    "rate_method",
    "superposed",
    "to_rate",
    "window_at",
    "without_tokens",
]
