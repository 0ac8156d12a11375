"""The stage of a tuning that simulates."""
