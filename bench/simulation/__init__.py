"""What a batcher would do with a trace: the same policies on a clock that jumps."""

from bench.simulation.engine import Simulation, simulate
from bench.simulation.service import ExactService, Overheads, Service

__all__ = ["ExactService", "Overheads", "Service", "Simulation", "simulate"]
