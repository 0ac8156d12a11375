"""What a batcher would do with a trace: the same policies on a clock that jumps."""

from bench.profiling.service_times import ExactService, Overheads, Service
from bench.simulation.engine import simulate
from bench.simulation.record import Simulation

__all__ = ["ExactService", "Overheads", "Service", "Simulation", "simulate"]
