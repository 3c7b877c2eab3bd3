"""A PostgreSQL of its own for tests: an empty cluster on a free port of this machine, gone afterwards."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers import free_port

# Where Debian keeps the programs that are not meant for every day.
DEBIAN_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
ACCOUNT = "postgres"


def program(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs, or None where it is not installed."""
    path = os.pathsep.join([*map(str, DEBIAN_FOLDERS), os.environ.get("PATH", "")])
    return shutil.which(name, path=path)


class PostgresServer:
    """A server that was started; it can be stopped and started again.

    url: of a database that DBOS makes when it is first used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"postgresql://{ACCOUNT}@127.0.0.1:{self._port}/spondyl"

    def create(self) -> None:
        """Make the cluster; nothing in it outlives the test, so nothing needs to be synced."""
        self._folder.mkdir()
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            shutil.chown(self._folder, ACCOUNT)
            for parent in self._folder.parents:
                if parent.stat().st_mode & 0o001 == 0 and parent.is_relative_to("/tmp"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", self._folder / "data", "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self._port} -h 127.0.0.1 -k {self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", self._folder / "data", "-o", options, "-l", self._folder / "log", "-w", "start")

    def stop(self, *, mode: str = "fast") -> None:
        """Stop the server; `immediate` is what a crash does."""
        self._run("pg_ctl", "-D", self._folder / "data", "-m", mode, "-w", "stop")

    def _run(self, name: str, *arguments: object) -> None:
        command = [str(program(name)), *map(str, arguments)]
        account = ACCOUNT if os.geteuid() == 0 else None
        subprocess.run(
            command,
            user=account,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            env={"PATH": "/usr/bin:/bin"},
        )


@contextmanager
def running_postgres(folder: Path) -> Iterator[PostgresServer]:
    """Run a server in a new folder."""
    server = PostgresServer(folder)
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.stop(mode="immediate")
