"""The search space, its objectives, and the loop that asks, evaluates and tells."""
