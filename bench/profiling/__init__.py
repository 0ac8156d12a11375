"""Measure a service profile, load one, and sum it up."""
