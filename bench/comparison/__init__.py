"""Running a comparison: which arms, in which order, until it is decided."""

from bench.comparison.schedule import (
    RunArm,
    RunSchedule,
    Trial,
    compare_arms,
)
from bench.live.arms import Arm

__all__ = ["Arm", "RunArm", "RunSchedule", "Trial", "compare_arms"]
