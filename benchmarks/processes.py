"""Servers that are measured, as processes: started and ended, their CPU time and their memory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import measure

_START = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    arguments: Sequence[str | Path],
    folder: Path,
    output: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in *folder*, where its log goes, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = measure.environment(folder) | dict(environment or {})
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            arguments, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output or log, stderr=log
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once *process* listens on *port*. Raises: RuntimeError when it does not."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen")


def family(pid: int) -> list[int]:
    """Return *pid* and its children: some servers work in those."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def cpu(pid: int) -> float:
    """Return the CPU seconds that *pid* has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int, field: str) -> int:
    """Return the bytes of memory that /proc/PID/status has as *field*, such as `RssAnon` or `VmHWM`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def forget_peak(pid: int) -> None:
    """Let `VmHWM`, the peak of the resident memory, begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
