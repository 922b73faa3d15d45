"""A worker, an operator and a public server, each powdo in a folder of its own that knows no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.capture_helpers import ROOT, stop

DAY = "2026-11-18"


@dataclass
class Side:
    """A folder, and the environment of commands that run in it, with *more* in it."""

    folder: Path
    more: dict[str, str] = field(default_factory=dict)
    master_key: str | None = "0" * 63 + "1"

    def environment(self) -> dict[str, str]:
        """Return an environment that knows this side only."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
        }
        if self.master_key is not None:
            own["NSEC_MASTER_KEY"] = self.master_key
        return own | self.more

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "powdo", *arguments],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            timeout=60,
        )

    def ok(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Return what a command writes that must end with 0."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[int]:
        """Run a server on a free port of loopback until the block ends; yield the port."""
        with subprocess.Popen(
            [sys.executable, "-m", "powdo", *arguments, "--listen", "127.0.0.1:0"],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            try:
                port = urlsplit(json.loads(process.stdout.readline())["url"]).port
                assert port is not None
                yield port
            finally:
                stop(process)


def export(folder: Path, hour: int, project: str = "x") -> Path:
    """Return an ActivityWatch export: ten minutes of DAY from *hour* on, in an editor with *project*."""
    period: dict[str, Any] = {"timestamp": f"{DAY}T{hour:02}:00:00Z", "duration": 600}
    edited = {"file": "shop.py", "project": project, "language": "python"}
    buckets = {}
    for kind, name, data in (
        ("currentwindow", "aw-watcher-window_desk", {"app": "Code", "title": project}),
        ("afkstatus", "aw-watcher-afk_desk", {"status": "not-afk"}),
        ("app.editor.activity", "aw-watcher-vscode_desk", edited),
    ):
        about = {"type": kind, "client": "test", "hostname": "desk"}
        buckets[name] = about | {"events": [period | {"data": data}]}
    path = folder / f"export-{hour}.json"
    path.write_text(json.dumps({"buckets": buckets}))
    return path


def deliver(worker: Side, operator: Side) -> bytes:
    """Send what waits at the worker's by the whole line and return the records of `ingest`."""
    uploaded = worker.ok("upload", stdin=worker.ok("bundle", "--pending"))
    published = worker.ok("publish", stdin=worker.ok("wrap", stdin=uploaded))
    assert published
    assert all(json.loads(row)["accepted"] for row in published.splitlines())
    return operator.ok("ingest", stdin=operator.ok("listen", "--until-eose"))
