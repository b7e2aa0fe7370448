"""A PostgreSQL of the test's own, on a socket in a temporary folder, gone when the test is."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def served() -> Iterator[str]:
    """Start a server and give the URL of an empty database; skip where PostgreSQL is not installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="firstlook-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, user)  # initdb refuses root

    def run(program: str, *arguments: str) -> None:
        command = [str(programs[-1] / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", user, "--", *command]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)

    data = str(folder / "data")
    run("initdb", "-D", data, "--auth=trust", "--no-sync", "-U", user)
    run("pg_ctl", "-D", data, "-w", "-o", f"-c listen_addresses='' -k {folder} -F", "-l", f"{folder}/log", "start")
    try:
        yield f"postgresql+psycopg://{user}@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
