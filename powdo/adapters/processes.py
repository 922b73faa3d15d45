"""Other programs as child processes: a pipeline that is watched, and a server that says when it listens."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from powdo.errors import PeerProtocolError, PowdoError, RetryLaterError
from powdo.records import JsonObject, decode_line

_TERMINATION = 10.0


@dataclass(slots=True)
class Stage:
    """One program of a pipeline and, once it has ended: seconds of wall clock and CPU, status, records."""

    arguments: Sequence[str]
    wall: float = 0.0
    cpu: float = 0.0
    status: int = 0
    size: int = 0
    records: list[JsonObject] = field(default_factory=list)


def run_pipeline(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], copies: Path
) -> list[Stage]:
    """Run *commands* joined by pipes, a copy of each one's output kept in *copies*; return what each did.

    Raises: RetryLaterError when a program cannot be started.
    """
    stages = [Stage(arguments) for arguments in commands]
    begin = time.monotonic()
    watchers: list[threading.Thread] = []
    source: int | IO[bytes] = subprocess.DEVNULL
    for number, stage in enumerate(stages):
        copy = copies / f"{number}.jsonl"
        process = _start(stage.arguments, environment, source)
        tee = _start(["tee", str(copy)], environment, process.stdout or subprocess.DEVNULL)
        for end in (source, process.stdout):
            if not isinstance(end, int) and end is not None:
                end.close()
        source = tee.stdout or subprocess.DEVNULL
        watchers.append(threading.Thread(target=_watch, args=(process, stage, begin)))
        watchers.append(threading.Thread(target=tee.wait))
    for watcher in watchers:
        watcher.start()
    if not isinstance(source, int):
        with source:
            while source.read(1 << 16):
                pass
    for watcher in watchers:
        watcher.join()
    for number, stage in enumerate(stages):
        data = (copies / f"{number}.jsonl").read_bytes()
        stage.size = len(data)
        stage.records = [decode_line(line) for line in data.splitlines()]
    return stages


def _start(
    arguments: Sequence[str], environment: Mapping[str, str], source: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(arguments, stdin=source, stdout=subprocess.PIPE, env=dict(environment))
    except OSError as error:
        raise RetryLaterError(f"cannot start '{arguments[0]}': {error.strerror}") from None


def _watch(process: subprocess.Popen[bytes], stage: Stage, begin: float) -> None:
    """Wait for *process* and note what it used; wait4 tells the CPU of this one child."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = stage.status = os.waitstatus_to_exitcode(status)
    stage.wall = time.monotonic() - begin
    stage.cpu = usage.ru_utime + usage.ru_stime


class Server:
    """A server of ours as a child: *url* once it listens; leave the block and it is ended by SIGTERM.

    Raises: RetryLaterError when it does not listen within *timeout* seconds, PeerProtocolError for nonsense.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, *, timeout: float = 30.0
    ) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
            )
        self.pid = self._process.pid
        try:
            self.url = self._listening(arguments, timeout)
        except PowdoError:
            self.close()
            raise

    def _listening(self, arguments: Sequence[str], timeout: float) -> str:
        stdout = self._process.stdout
        line = b""
        if stdout is not None and select.select([stdout], [], [], timeout)[0]:
            line = stdout.readline()
        if not line:
            raise RetryLaterError(f"'{' '.join(arguments)}' does not listen")
        record = decode_line(line)
        url = record.get("url")
        if record.get("type") != "listening" or not isinstance(url, str):
            raise PeerProtocolError(f"'{' '.join(arguments)}' said something else than where it listens")
        return url

    def close(self) -> None:
        """End the server: by SIGTERM, and by SIGKILL when it does not heed that."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_TERMINATION)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
