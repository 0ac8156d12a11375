"""Which figures a run has, in the order of the report, and how they become files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results.figures.style import DPI, FAINT, RC
from results.run.figures.batches import draw_batch_sizes
from results.run.figures.gpu import draw_gpu, was_sampled
from results.run.figures.latency import draw_distribution, draw_parts
from results.run.figures.timeline import draw_arrivals_and_latency, draw_in_system, draw_utilization
from results.run.record import FIGURES as FOLDER
from results.run.record import SIMULATION, Run

_WIDTH_IN = 7.6


def _always(_: Run) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class FigureSpec:
    """One figure.

    Args:
        name: The name of its file, without the ending.
        height_in: Its height, inches; all have the same width.
        reading: One line on how to read it.
        draw: Draws it.
        applies: Whether a run has what it shows; else it is left out.
    """

    name: str
    height_in: float
    reading: str
    draw: Callable[[Run, Figure], None]
    applies: Callable[[Run], bool] = _always

    def save(self, run: Run, path: Path) -> None:
        """Draw the figure and write it as a PNG."""
        with mpl.rc_context(RC):
            figure = Figure(figsize=(_WIDTH_IN, self.height_in), layout="constrained")
            FigureCanvasAgg(figure)
            self.draw(run, figure)
            if run.record.kind == SIMULATION:
                figure.text(0.995, 0.005, "simulated", ha="right", va="bottom", color=FAINT)
            figure.savefig(path, dpi=DPI, format="png")


FIGURES = (
    FigureSpec(
        "arrivals_and_latency",
        4.8,
        "Latency that follows the bursts above it comes from the load; peaks without a burst point "
        "to the machine.",
        draw_arrivals_and_latency,
    ),
    FigureSpec(
        "latency_distribution",
        3.4,
        "The curve shows how many requests took longer than a time; a long flat foot to the right "
        "is a tail that a few requests pay for.",
        draw_distribution,
    ),
    FigureSpec(
        "where_the_time_went",
        2.7,
        "Forming is waiting that the batch timeout causes, while a worker was free; queued is "
        "waiting because every worker was busy.",
        draw_parts,
    ),
    FigureSpec(
        "batch_sizes",
        3.0,
        "Full batches show that the limit binds; timeouts show that a batch could not be filled in "
        "time.",
        draw_batch_sizes,
    ),
    FigureSpec(
        "in_system",
        2.8,
        "A backlog that comes back down is a burst worked off; one that only rises means the load "
        "is more than the system serves.",
        draw_in_system,
    ),
    FigureSpec(
        "utilization",
        2.8,
        "Busy is the time in which a batch was executing; the CPU and NVML readings measure other "
        "things and need not agree with it.",
        draw_utilization,
    ),
    FigureSpec(
        "gpu",
        4.4,
        "A clock that falls as power or temperature reach their limit makes the figures those of a "
        "slower GPU.",
        draw_gpu,
        was_sampled,
    ),
)


def save_figures(run: Run) -> dict[str, Path]:
    """Write the figures to `figures/<name>.png` in the run's folder; return where, by name."""
    folder = run.path / FOLDER
    folder.mkdir(exist_ok=True)
    drawn = [spec for spec in FIGURES if spec.applies(run)]
    paths = {spec.name: folder / f"{spec.name}.png" for spec in drawn}
    for spec in drawn:
        spec.save(run, paths[spec.name])
    return paths
