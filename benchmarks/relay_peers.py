"""The relays that are measured, each a process of its own with a folder of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measure
import processes


@dataclass(frozen=True, slots=True)
class Peer:
    """A running relay; *authenticates* when its policies ask who is there."""

    name: str
    url: str
    pids: Sequence[int]
    authenticates: bool

    def cpu(self) -> float:
        """Return the CPU seconds it has taken so far, in all its processes."""
        return sum(processes.cpu(pid) for pid in self.pids)

    def anonymous(self) -> int:
        """Return the bytes of its own memory that no file backs."""
        return sum(processes.memory(pid, "RssAnon") for pid in self.pids)


@contextmanager
def powdo(folder: Path, allowed: Sequence[str]) -> Iterator[Peer]:
    """Run `powdo relay serve` with its defaults, which ask everybody for authentication."""
    arguments = measure.stage("relay", "serve", "--listen", "127.0.0.1:0", "--data", str(folder / "store"))
    for pubkey in allowed:
        arguments += ["--allow", pubkey]
    with processes.running(arguments, folder, subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise RuntimeError((folder / "log").read_text())
        yield Peer("powdo", json.loads(line)["url"], [process.pid], authenticates=True)


_NOSTR_RELAY = """\
DEBUG: false
relay_name: peer
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{folder}/events.sqlite3
  num_concurrent_reqs: 10
  num_concurrent_adds: 2
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
    - nostr_relay.validators.is_recent
verification:
  nip05_verification: disabled
gunicorn:
  bind: 127.0.0.1:{port}
  workers: 1
  loglevel: warning
authentication:
  enabled: false
message_timeout: 1800
subscription_limit: 32
max_limit: 6000
logging:
  version: 1
  root: {{level: ERROR}}
"""


@contextmanager
def nostr_relay(folder: Path, program: Path) -> Iterator[Peer]:
    """Run the PyPI package nostr-relay over SQLite, as its own example configuration does."""
    folder.mkdir(parents=True, exist_ok=True)
    port = processes.free_port()
    config = folder / "config.yaml"
    config.write_text(_NOSTR_RELAY.format(folder=folder, port=port))
    with processes.running([program, "-c", config, "serve"], folder) as process:
        processes.await_port(port, process)
        time.sleep(1)
        yield Peer(
            "nostr-relay", f"ws://127.0.0.1:{port}", processes.family(process.pid), authenticates=False
        )


_STRFRY = """\
db = "{folder}/db/"
relay {{
    bind = "127.0.0.1"
    port = {port}
    nofiles = 0
    auth {{ enabled = false  restrictedReadKinds = "" }}
    logging {{ dumpInAll = false  dumpInEvents = false  dumpInReqs = false  dbScanPerf = false }}
}}
"""


@contextmanager
def strfry(folder: Path, program: Path) -> Iterator[Peer]:
    """Run strfry with its defaults."""
    (folder / "db").mkdir(parents=True, exist_ok=True)
    port = processes.free_port()
    config = folder / "strfry.conf"
    config.write_text(_STRFRY.format(folder=folder, port=port))
    with processes.running([program, f"--config={config}", "relay"], folder) as process:
        processes.await_port(port, process)
        yield Peer("strfry", f"ws://127.0.0.1:{port}", [process.pid], authenticates=False)
