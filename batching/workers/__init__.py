"""Threads that take batches: their life, their deaths, and what is run again."""
