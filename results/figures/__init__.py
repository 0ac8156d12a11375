"""Figures, and their style, that several kinds of result share; drawn without a display."""
