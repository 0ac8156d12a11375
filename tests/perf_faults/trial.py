"""One scenario on one contestant in a process of its own: `SCENARIO CONTESTANT`, JSON to stdout."""

import json
import sys
from dataclasses import asdict

from tests.perf.peers.contestants import load
from tests.perf_faults.scenarios import SCENARIOS, observe


def main():
    scenario, contestant = sys.argv[1:]
    make, reason = load(contestant)
    if make is None:
        sys.exit(reason)
    observe(SCENARIOS[scenario], make, report)


def report(outcome):
    print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    main()
