"""What a worker wants left out is in no byte that powdo keeps, sends or says, whatever the verbosity."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pyzipper

from powdo.nips.bech32 import encode_nsec
from tests.capture_helpers import stop
from tests.real.test_screen import display, windows
from tests.real.test_whole_line import Side, serve

__all__ = ["display", "windows"]  # fixtures

PLANTED = {
    "an IBAN in a title": "DE89370400440532013000",
    "a token in a query": "hunter2token",
    "a private-browsing tab": "secretpresent",
    "a denied program's title": "vaultofana",
    "a private title": "oncology",
}
WISHES = """
[capture]
redact = ['DE\\d{20}']
deny = ['^keepass']
private = ['oncology']
"""


def _event(at: datetime, **data: object) -> dict[str, Any]:
    return {"timestamp": at.isoformat(), "duration": 50.0, "data": data}


def _export(now: datetime) -> dict[str, Any]:
    """Return an ActivityWatch export of the last minutes with every secret in it, beside harmless work."""
    at = [now - timedelta(minutes=30 - number) for number in range(12)]
    windows = [
        _event(at[0], app="Code", title="cart.py - acme-shop"),
        _event(at[1], app="Code", title=f"payment to {PLANTED['an IBAN in a title']}"),
        _event(at[2], app="firefox", title="Issues"),
        _event(at[3], app="firefox", title=f"{PLANTED['a private-browsing tab']} — Private Browsing"),
        _event(at[4], app="keepassxc", title=PLANTED["a denied program's title"] + ".kdbx"),
        _event(at[5], app="thunderbird", title=f"Re: {PLANTED['a private title']} appointment"),
    ]
    url = f"https://tracker.example/i/7?session={PLANTED['a token in a query']}#part"
    tabs = [
        _event(at[2], url=url, title="Issues", incognito=False),
        _event(
            at[3], url=f"https://{PLANTED['a private-browsing tab']}.example/", title="gift", incognito=True
        ),
    ]
    afk = {"timestamp": at[0].isoformat(), "duration": 600.0, "data": {"status": "not-afk"}}
    kinds = (
        ("window", "currentwindow", windows),
        ("afk", "afkstatus", [afk]),
        ("web-firefox", "web.tab.current", tabs),
    )
    return {
        "buckets": {
            f"aw-watcher-{name}_here": {
                "id": f"aw-watcher-{name}_here",
                "type": kind,
                "client": f"aw-watcher-{name}",
                "hostname": "here",
                "events": events,
            }
            for name, kind, events in kinds
        }
    }


@pytest.fixture
def worker(tmp_path: Path, display: str) -> Iterator[Side]:
    """Return a worker with wishes, and a Blossom server to upload to."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "public").mkdir()
    side, public = Side.create(tmp_path / "worker", DISPLAY=display), Side.create(tmp_path / "public")
    _, access = side.text("keys", "new", "ana", "ana-access").split()
    server, url = serve(
        public, "blossom", "serve", "--data", str(tmp_path / "public/blobs"), "--allow", access
    )
    side.text("init", "worker", "--user", "ana", "--dvm", access, "--blossom", url, "--yes")
    side.configure(WISHES)
    yield side
    stop(server)
    assert server.stdout is not None
    server.stdout.close()


def _run_line(side: Side, export: Path) -> tuple[list[str], str]:
    """Run the worker's line up to `wrap` with -vv; return what each stage wrote and all that was said."""
    written, said = [], ""
    feed = b""
    for stage in (["capture", "--activity", str(export)], ["bundle"], ["upload"], ["wrap"]):
        done = subprocess.run(
            [sys.executable, "-m", "powdo", *stage, "-vv"],
            env=side.environment,
            input=feed,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        feed = done.stdout
        written.append(done.stdout.decode())
        said += done.stderr.decode()
    return written, said


def _contents(state: Path) -> bytes:
    """Return all that the worker's own bundle holds, decrypted and inflated."""
    database = sqlite3.connect(state / "outbox.sqlite")
    rows = database.execute("SELECT bundle, key FROM capture").fetchall()
    database.close()
    result = b""
    for text, key in rows:
        with pyzipper.AESZipFile(json.loads(text)["path"]) as outer:
            outer.setpassword(key.encode())
            inner = outer.read("bundle.zip")
        with zipfile.ZipFile(io.BytesIO(inner)) as members:
            result += b"".join(members.read(name) + name.encode() for name in members.namelist())
    return result


@pytest.mark.real
def test_planted_secrets_are_nowhere(worker: Side, windows: Any, tmp_path: Path) -> None:
    """No planted secret is in the bundle, the outbox, a record, or anything said with -vv."""
    windows("Editor", "cart.py")
    windows("keepassxc", PLANTED["a denied program's title"])
    export = tmp_path / "export.json"
    export.write_text(json.dumps(_export(datetime.now(UTC))))
    written, said = _run_line(worker, export)
    state = Path(worker.environment["POWDO_STATE_DIR"])
    bundle = _contents(state)
    assert b"cart.py - acme-shop" in bundle
    assert b"[redacted]" in bundle
    assert b"https://tracker.example/i/7" in bundle
    assert json.loads(written[0])["screenshots"] == 0  # a denied program's window was visible
    assert "denied" in " ".join(json.loads(written[0])["absent"])
    kept = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    for what, secret in PLANTED.items():
        for where, data in (
            ("bundle", bundle),
            ("state", kept),
            ("said", (said + "".join(written)).encode()),
        ):
            assert secret.encode().lower() not in data.lower(), f"{what} is in the {where}"


@pytest.mark.real
def test_keys_are_in_nothing_said_or_sent(worker: Side, tmp_path: Path) -> None:
    """Neither the master key, nor an nsec, nor a bundle's key is in a record or said with -vv."""
    from powdo.adapters.keystore import Keystore

    export = tmp_path / "export.json"
    export.write_text(json.dumps(_export(datetime.now(UTC))))
    written, said = _run_line(worker, export)
    master = worker.environment["NSEC_MASTER_KEY"]
    store = Keystore(Path(worker.environment["POWDO_DATA_DIR"]) / "keystore.json")
    keys = [store.unlock(name, bytes.fromhex(master)).secret_bytes() for name in ("ana", "ana-access")]
    database = sqlite3.connect(Path(worker.environment["POWDO_STATE_DIR"]) / "outbox.sqlite")
    ((bundle_key,),) = database.execute("SELECT key FROM capture").fetchall()
    database.close()
    public = said + "".join(written)
    for secret in (master, bundle_key, *(key.hex() for key in keys), *(encode_nsec(key) for key in keys)):
        assert secret not in public


@pytest.mark.real
def test_plaintext_is_gone_once_the_bundle_is_durable(worker: Side, tmp_path: Path) -> None:
    """After bundling no title stands in clear anywhere in the state directory."""
    export = tmp_path / "export.json"
    export.write_text(json.dumps(_export(datetime.now(UTC))))
    _run_line(worker, export)
    state = Path(worker.environment["POWDO_STATE_DIR"])
    assert list((state / "outbox").iterdir()) == []
    kept = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert b"cart.py - acme-shop" not in kept
