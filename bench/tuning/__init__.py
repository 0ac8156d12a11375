"""Finding the setting for a model and its traffic: simulated first, then raced on the device."""
