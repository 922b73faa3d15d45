"""The servers that are measured, each a process of its own with a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measure
import processes


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server; *files* is the folder it serves as it is, where blobs cannot be uploaded."""

    name: str
    url: str
    pid: int
    serves: bool = True
    files: Path | None = None

    def cpu(self) -> float:
        """Return the CPU seconds it has taken so far."""
        return processes.cpu(self.pid)


@contextmanager
def powdo(folder: Path, pubkey: str) -> Iterator[Peer]:
    """Run `powdo blossom serve` with its defaults for one key."""
    arguments = measure.stage(
        "blossom", "serve", "--listen", "127.0.0.1:0", "--data", str(folder / "store"), "--allow", pubkey
    )
    with processes.running(arguments, folder, subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise RuntimeError((folder / "log").read_text())
        yield Peer("powdo", json.loads(line)["url"], process.pid)


# the defaults, but for pages for people, and for as many uploads at once as the client makes
_REFERENCE = """\
host: 127.0.0.1
port: {port}
database: {{ path: "{folder}/sqlite.db" }}
storage: {{ backend: local, local: {{ dir: "{folder}/blobs" }} }}
upload: {{ maxJobsPerWorker: 16 }}
landing: {{ enabled: false }}
dashboard: {{ enabled: false }}
"""


@contextmanager
def reference(folder: Path, checkout: Path, deno: str) -> Iterator[Peer]:
    """Run hzrd149/blossom-server, what it imports being in Deno's cache."""
    folder.mkdir(parents=True, exist_ok=True)
    port = processes.free_port()
    config = folder / "config.yml"
    config.write_text(_REFERENCE.format(folder=folder, port=port))
    grants = [f"--allow-{each}" for each in ("net", "read", "write", "env", "ffi", "sys", "run")]
    settings = ["--no-lock", "--cached-only", "--config", str(checkout / "deno.json")]
    arguments = [deno, "run", *settings, *grants, str(checkout / "main.ts"), str(config)]
    cache = os.environ.get("DENO_DIR") or str(Path.home() / ".cache/deno")
    with processes.running(arguments, folder, environment={"DENO_DIR": cache}) as process:
        processes.await_port(port, process)
        yield Peer("reference", f"http://127.0.0.1:{port}", process.pid)


_NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/zip;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


@contextmanager
def nginx(folder: Path, program: str) -> Iterator[Peer]:
    """Run nginx over a folder of files, with sendfile."""
    files = folder / "files"
    files.mkdir(parents=True)
    port = processes.free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port))
    with processes.running([program, "-p", folder, "-e", folder / "error", "-c", config], folder) as process:
        processes.await_port(port, process)
        yield Peer("nginx", f"http://127.0.0.1:{port}", process.pid, files=files)


@contextmanager
def bare(folder: Path) -> Iterator[Peer]:
    """Run the loop that does no more than an upload costs."""
    store = folder / "store"
    store.mkdir(parents=True)
    script = Path(__file__).with_name("blossom_bare.py")
    with processes.running([sys.executable, script, store], folder, subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else b""
        yield Peer("bare loop", f"http://127.0.0.1:{int(line)}", process.pid, serves=False)
