import subprocess
import sys

import workloads


def test_importing_the_room_brings_in_nothing_heavy():
    heavy = "{'torch', 'transformers', 'pandas', 'matplotlib', 'batching', 'bench', 'results'}"
    code = f"import sys, workloads; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_public_name_exists_and_says_what_it_is():
    for name in workloads.__all__:
        assert getattr(workloads, name).__doc__
