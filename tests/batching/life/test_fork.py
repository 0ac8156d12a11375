"""A process forked from one whose batcher runs, as `gunicorn --preload` does."""

import os
import subprocess
import sys
import textwrap

import pytest

FORKS = """
    import asyncio, os, signal, time
    from batching import BatchingError, DynamicBatcher

    def model(payloads):
        time.sleep(0.3)
        return payloads

    def in_the_child(batcher, waits):
        signal.alarm(10)  # what hangs is killed
        for name, act in {
            "submit": lambda: batcher.submit(2),
            "submit with a deadline": lambda: batcher.submit(2, deadline_ms=50),
            "add_request": lambda: asyncio.run(batcher.add_request(2)),
            "result": lambda: waits.result(5),
        }.items():
            began_s = time.monotonic()
            try:
                print(f"{name}: returned {act()!r}", flush=True)
            except BaseException as error:
                kind = "BatchingError" if isinstance(error, BatchingError) else repr(error)
                told = "fork" in str(error)
                soon = time.monotonic() - began_s < 1
                print(f"{name}: {kind}, told of the fork: {told}, at once: {soon}", flush=True)
        batcher.stop(drain=DRAIN)
        batcher.stop()
        print("stop: returned", flush=True)

    batcher = DynamicBatcher(model, max_batch_size=1, batch_timeout_ms=0, replicas=2)
    batcher.start()
    in_hand, waits = batcher.submit(0), [batcher.submit(i) for i in (1, 2, 3)][-1]
    time.sleep(0.1)
    child = os.fork()
    if not child:
        in_the_child(batcher, waits)
        os._exit(0)
    print("child:", os.waitpid(child, 0)[1], flush=True)
    print("parent:", in_hand.result(5), waits.result(5), batcher.submit(4).result(5), flush=True)
    batcher.stop()
    print("parent's stop: returned", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("drain", [True, False])
def test_in_the_child_all_is_refused_at_once_and_the_parent_goes_on(drain):
    script = textwrap.dedent(FORKS).replace("DRAIN", str(drain))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    refused = "BatchingError, told of the fork: True, at once: True"
    assert done.stdout.splitlines() == [
        f"submit: {refused}",
        f"submit with a deadline: {refused}",
        f"add_request: {refused}",
        f"result: {refused}",
        "stop: returned",
        "child: 0",
        "parent: 0 3 4",
        "parent's stop: returned",
    ], done.stderr
