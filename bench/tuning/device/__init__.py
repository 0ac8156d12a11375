"""The stage of a tuning that runs on the device: search, race and verification."""
