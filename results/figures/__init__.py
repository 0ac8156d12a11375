"""The figures of a run: one small function each, drawn without a display or global state."""

from results.run.figures.catalogue import FIGURES, FigureSpec, save_figures

__all__ = ["FIGURES", "FigureSpec", "save_figures"]
