"""A run on a target, measured: replay, telemetry, logs."""
