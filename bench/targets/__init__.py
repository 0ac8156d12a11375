"""What a run is measured on."""
