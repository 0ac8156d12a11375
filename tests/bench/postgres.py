"""A PostgreSQL server of the test's own: a fresh cluster, with a socket in a folder of its own."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# The server refuses to run as root.
_SERVER_USERS = ("postgres", "nobody")


def binaries():
    """The folder of the newest server here; None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


def _as_server():
    """How the server's programs are started: as somebody who is not root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    for name in _SERVER_USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


@contextlib.contextmanager
def running():
    """A server without a port, its files in a folder that is gone afterwards; yields its URL.

    Nothing is flushed to the disk: what is tested survives the death of clients, not of the server.
    """
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL's server programs, and this machine has none")
    pytest.importorskip("psycopg", reason="needs psycopg, the extra 'postgresql'")
    who = _as_server()
    # Not pytest's own folder, which nobody else may enter; and a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="dynbatch-pg-", dir="/tmp") as folder:
        if who:
            os.chown(folder, who["user"], who["group"])
        data, log = Path(folder) / "data", Path(folder) / "log"
        own = {"cwd": folder, "env": {**os.environ, "LC_ALL": "C", "HOME": folder}, **who}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tuner", "-A", "trust", "-E", "UTF8", "-N"],
            check=True,
            stdout=subprocess.DEVNULL,
            **own,
        )
        options = f"-F -k {folder} -c listen_addresses= -c full_page_writes=off"
        control = [programs / "pg_ctl", "-D", data, "-w", "-t", "120"]
        subprocess.run(
            [*control, "-l", log, "-o", options, "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            **own,
        )
        try:
            yield f"postgresql://tuner:secret@/postgres?host={folder}"
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"],
                check=False,
                stdout=subprocess.DEVNULL,
                **own,
            )
