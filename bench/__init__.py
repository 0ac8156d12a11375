"""What drives and decides: the command line, the replay, telemetry."""
