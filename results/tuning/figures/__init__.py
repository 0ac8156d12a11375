"""Figures of a tuning."""
