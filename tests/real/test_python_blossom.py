"""Our Blossom server as a foreign client finds it: PyPI python-blossom."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.blossom_server import ANA, BEN, Blossom, running, sha
from tests.conftest import ROOT
from tests.parts import need

pytestmark = pytest.mark.real

_PYTHON = ROOT / ".venv-blossom/bin/python"
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _installed() -> None:
    """Skip where the client is missing."""
    need(_PYTHON.is_file(), "'python-blossom' in .venv-blossom")


@contextmanager
def _client(server: Blossom, tmp_path: Path, *, secret: bytes = ANA.secret_bytes()) -> Iterator[Ask]:
    with subprocess.Popen(
        [_PYTHON, ROOT / "tests/real/python_blossom_client.py", server.url, secret.hex()],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        sink, source = process.stdin, process.stdout

        def ask(*request: object) -> dict[str, Any]:
            sink.write(json.dumps(request) + "\n")
            sink.flush()
            answer: dict[str, Any] = json.loads(source.readline())
            return answer

        yield ask
        sink.close()
        assert process.wait(20) == 0


def test_the_client_uploads_lists_fetches_and_deletes(tmp_path: Path) -> None:
    """Its tokens, in padded standard base64 and without server tags, do for every endpoint."""
    data = os.urandom(300_000)
    (tmp_path / "blob").write_bytes(data)
    with running(tmp_path / "server", allow=(ANA.pubkey,)) as server, _client(server, tmp_path) as ask:
        assert ask("ask", "blob", "application/zip")["result"]["access_control_allow_origin"] == "*"
        described = ask("upload", "blob", "application/zip")["result"]
        assert described["uploaded"] <= time.time()
        assert (described["url"], described["size"]) == (f"{server.url}/{sha(data)}.zip", len(data))
        assert ask("upload", "blob", "application/zip")["result"] == described
        (listed,) = ask("list", True)["result"]
        assert listed["uploaded"] >= described["uploaded"]  # the last time it came from this owner
        assert listed | {"uploaded": described["uploaded"]} == described
        head = ask("head", sha(data))["result"]
        assert head == {
            "content_type": "application/zip",
            "content_length": str(len(data)),
            "accept_ranges": "bytes",
        }
        assert ask("get", sha(data), False) == {"result": f"{sha(data)}.got"}
        assert (tmp_path / f"{sha(data)}.got").read_bytes() == data
        assert ask("delete", sha(data))["result"]["status"] == "deleted"
        assert ask("head", sha(data))["status"] == 404


def test_the_client_has_a_blob_mirrored(tmp_path: Path) -> None:
    """The second server fetches from the first what the client tells it to."""
    data = os.urandom(300_000)
    (tmp_path / "blob").write_bytes(data)
    allow = (ANA.pubkey,)
    with (
        running(tmp_path / "one", allow=allow) as one,
        running(tmp_path / "two", allow=allow, mirror_hosts=(one.url,)) as two,
        _client(one, tmp_path) as to_one,
        _client(two, tmp_path) as to_two,
    ):
        described = to_one("upload", "blob", "application/octet-stream")["result"]
        mirrored = to_two("mirror", described["url"], sha(data))["result"]
        assert mirrored["url"] == f"{two.url}/{sha(data)}.bin"
        assert two.ask("GET", f"/{sha(data)}").body == data
        assert to_two("mirror", described["url"], "0" * 64)["status"] == 409
        assert to_two("mirror", f"{one.url}/{'0' * 64}", "0" * 64)["status"] == 502
        assert to_one("mirror", mirrored["url"], sha(data))["status"] == 404


def test_the_client_shows_our_reasons(tmp_path: Path) -> None:
    """A stranger, a type that is not taken, another's list: the client's error has status and X-Reason."""
    (tmp_path / "blob").write_bytes(b"a blob")
    with running(tmp_path / "server", allow=(ANA.pubkey,), private=True) as server:
        with _client(server, tmp_path, secret=BEN.secret_bytes()) as ask:
            refused = ask("upload", "blob", "application/zip")
            assert refused == {"status": 403, "error": "HTTP 403: this key is not on the allowlist"}
        with _client(server, tmp_path) as ask:
            assert ask("upload", "blob", "text/html")["status"] == 415
            assert ask("ask", "blob", "text/html")["status"] == 415
            assert ask("list", False)["status"] == 401
            assert "result" in ask("upload", "blob", "application/zip")
            assert ask("get", sha(b"a blob"), False)["status"] == 401
            assert "result" in ask("get", sha(b"a blob"), True)
