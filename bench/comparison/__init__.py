"""Running a comparison: which arms, in which order, until it is decided."""

from bench.comparison.arms import Arm
from bench.comparison.schedule import (
    Contest,
    RunArm,
    Trial,
    compare_arms,
)

__all__ = ["Arm", "Contest", "RunArm", "Trial", "compare_arms"]
