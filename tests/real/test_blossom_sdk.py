"""Our Blossom server as a foreign client finds it: npm blossom-client-sdk."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.blossom import BlossomClient
from tests.blossom_server import ANA, BEN, running, sha
from tests.parts import need, needed

pytestmark = pytest.mark.real

_HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _node() -> None:
    """Skip where node or the packages are missing."""
    needed("node")
    need((_HERE / "node_modules" / "blossom-client-sdk").is_dir(), "'npm install' in tests/real")


def _sdk(action: str, server: str, argument: str, *, secret: bytes = ANA.secret_bytes()) -> dict[str, Any]:
    answer = subprocess.run(
        ["node", "blossom_sdk.mjs", action, server, secret.hex(), argument],
        cwd=_HERE,
        capture_output=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def test_the_sdk_uploads_fetches_lists_and_deletes(tmp_path: Path) -> None:
    """Each action of the SDK does what it says, and what one client writes the other reads."""
    data, ours = os.urandom(300_000), os.urandom(5000)
    (tmp_path / "theirs").write_bytes(data)
    (tmp_path / "ours").write_bytes(ours)
    with running(tmp_path / "server", allow=(ANA.pubkey,)) as server:
        described = _sdk("upload", server.url, str(tmp_path / "theirs"))
        assert described["url"] == f"{server.url}/{sha(data)}.zip"
        assert (described["sha256"], described["size"]) == (sha(data), len(data))
        client = BlossomClient(server.url, ANA)
        assert [item.to_json() for item in client.owned()] == [described]
        client.upload(tmp_path / "ours", sha256=sha(ours), size=len(ours))
        client.close()
        fetched = _sdk("download", server.url, sha(ours))
        assert fetched == {"size": len(ours), "sha256": sha(ours), "type": "application/zip"}
        listed = _sdk("list", server.url, "")["blobs"]
        assert {item["sha256"] for item in listed} == {sha(data), sha(ours)}
        assert _sdk("delete", server.url, sha(data)) == {"deleted": True}
        assert _sdk("has", server.url, sha(data)) == {"has": False}
        assert _sdk("has", server.url, sha(ours)) == {"has": True}


def test_the_sdk_has_a_blob_mirrored(tmp_path: Path) -> None:
    """The SDK hands one server's descriptor to another, which fetches the blob and calls it its own."""
    data = os.urandom(300_000)
    (tmp_path / "blob").write_bytes(data)
    allow = (ANA.pubkey,)
    with (
        running(tmp_path / "one", allow=allow) as one,
        running(tmp_path / "two", allow=allow, mirror_hosts=(one.url,)) as two,
    ):
        described = _sdk("upload", one.url, str(tmp_path / "blob"))
        mirrored = _sdk("mirror", two.url, json.dumps(described))
        assert mirrored["url"] == f"{two.url}/{sha(data)}.zip"
        assert _sdk("download", two.url, sha(data))["size"] == len(data)
        refused = _sdk("mirror", one.url, json.dumps(mirrored))
        assert refused["status"] == 404


def test_the_sdk_is_refused_with_a_reason_it_shows(tmp_path: Path) -> None:
    """A stranger's upload and another's deletion end in the SDK as errors with our words."""
    (tmp_path / "blob").write_bytes(b"a blob")
    with running(tmp_path / "server", allow=(ANA.pubkey, BEN.pubkey)) as server:
        refused = _sdk("upload", server.url, str(tmp_path / "blob"), secret=bytes([9]) * 32)
        assert "this key is not on the allowlist" in refused["error"]
        _sdk("upload", server.url, str(tmp_path / "blob"))
        refused = _sdk("delete", server.url, sha(b"a blob"), secret=BEN.secret_bytes())
        assert "belongs to another key" in refused["error"]


def test_the_sdk_reads_from_a_private_server_with_a_token(tmp_path: Path) -> None:
    """On a private server the SDK signs a token for get; a stranger's does not help."""
    (tmp_path / "blob").write_bytes(b"a blob")
    with running(tmp_path / "server", allow=(ANA.pubkey,), private=True) as server:
        _sdk("upload", server.url, str(tmp_path / "blob"))
        assert _sdk("download", server.url, sha(b"a blob"))["sha256"] == sha(b"a blob")
        assert "error" in _sdk("download", server.url, sha(b"a blob"), secret=BEN.secret_bytes())
