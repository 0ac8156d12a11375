"""What this machine is, and whether what is measured on it can be believed: `dynbatch doctor`."""
