"""A real PostgreSQL of our own, for the tests that run on one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.parts import need


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    places = (
        [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((place for place in places if (place / "initdb").exists()), None)


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []


@contextmanager
def running(*, durable: bool = False) -> Iterator[str]:
    """Return the URL, without its database, of a PostgreSQL that a power cut harms unless it is *durable*."""
    binaries = _binaries()
    need(binaries, "PostgreSQL")
    need(importlib.util.find_spec("psycopg"), "psycopg")
    folder = Path(tempfile.mkdtemp(prefix="powdo-pg-", dir="/tmp"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    run = _as_nobody()
    initdb = [
        *run,
        f"{binaries}/initdb",
        "-D",
        f"{folder}/data",
        "-U",
        "powdo",
        "-A",
        "trust",
        "-N",
        "-E",
        "UTF8",
    ]
    subprocess.run([*initdb, "--no-locale"], check=True, capture_output=True, cwd=folder)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories="
    if not durable:
        options += " -c fsync=off"
    control = [*run, f"{binaries}/pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-w"]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder)
    try:
        yield f"postgresql://powdo@127.0.0.1:{port}/"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Return the URL, without its database, of a PostgreSQL server of our own."""
    with running() as url:
        yield url


def empty_database(server: str) -> str:
    """Return the URL of a new database on *server*."""
    import psycopg

    name = f"powdo_{uuid4().hex}"
    with psycopg.connect(server + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server + name
