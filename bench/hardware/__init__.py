"""The machine and its devices: what they are, and what can be read of them."""
