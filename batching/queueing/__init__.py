"""Requests that wait: lanes, deadlines, what ends one and who is told."""
