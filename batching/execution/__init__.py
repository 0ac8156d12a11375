"""Running a batch on a device: host or CUDA, eager or captured, warm."""
