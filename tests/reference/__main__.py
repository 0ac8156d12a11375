"""`python -m tests.reference`, which `make gpu-reference` runs."""

from tests.reference.cli import main

main()
