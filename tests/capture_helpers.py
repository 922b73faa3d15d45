"""A worker's machine in a folder, on which `powdo capture` runs as a process."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from powdo.worktime.manifest import Manifest, parse_manifest

ROOT = Path(__file__).parents[1]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End *process*."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def unused_url() -> str:
    """Return an address on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@dataclass
class Worker:
    """A worker's machine in a folder."""

    folder: Path
    display: str = ""
    options: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def capture(self, *flags: str, status: int = 0) -> list[dict[str, Any]]:
        """Return the records of one run that ends with *status*; what it said is in `said`."""
        done = subprocess.run(
            [sys.executable, "-m", "powdo", "capture", *flags],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            timeout=120,
        )
        self.said = done.stderr.decode()
        assert done.returncode == status, self.said
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start(self, *flags: str) -> subprocess.Popen[bytes]:
        """Return a run that has just begun."""
        return subprocess.Popen(
            [sys.executable, "-m", "powdo", "capture", *flags],
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of a process, with the configuration written."""
        config = self.folder / "powdo.toml"
        config.write_text(f'[identity]\nuser = "ana"\n[capture]\n{self.options}\n')
        config.chmod(0o600)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "POWDO_CONFIG": str(config),
            "POWDO_STATE_DIR": str(self.state),
            "POWDO_DATA_DIR": str(self.folder / "data"),
        }
        if self.display:
            environment["DISPLAY"] = self.display
        return environment | self.variables

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"


def opened(record: dict[str, Any]) -> Manifest:
    """Return the manifest of a capture whose files are all as it says."""
    folder = Path(record["path"])
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    for name, (size, sha256) in manifest.files.items():
        data = (folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"manifest.json", *manifest.files}
    assert (record["id"], record["sequence"]) == (manifest.id, manifest.sequence)
    assert record["bucket_events"] == manifest.bucket_events
    return manifest


def reasons(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the capture lacks, as its manifest has it."""
    return [(item.what, item.reason) for item in opened(record).absent]
