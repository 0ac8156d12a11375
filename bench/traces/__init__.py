"""Traces as the command line takes and describes them."""
