"""A run: its logs, its metrics, and what they mean."""
