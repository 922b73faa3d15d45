"""Where the reference server (blossom-server 6.1.4) departs from the BUDs, ours does not: a test each."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from powdo.settings.retention import Rule
from tests.blossom_server import ANA, BEN, Blossom, running, sha, token


def _owned(server: Blossom, pubkey: str, header: str) -> set[str]:
    listed = json.loads(server.ask("GET", f"/list/{pubkey}", Authorization=header).body)
    return {item["sha256"] for item in listed}


@pytest.fixture
def data(blossom: Blossom) -> bytes:
    """Return a blob that ana has uploaded."""
    made = os.urandom(200)
    assert blossom.put(made).status == 201
    return made


def test_a_token_without_x_uploads_and_deletes_nothing(blossom: Blossom, data: bytes) -> None:
    """BUD-11 requires x for both: 401."""
    other = os.urandom(200)
    assert blossom.put(other, Authorization=token("upload"), X_SHA_256=None).status == 401
    assert blossom.ask("DELETE", f"/{sha(data)}", Authorization=token("delete")).status == 401
    assert blossom.ask("HEAD", f"/{sha(data)}").status == 200


def test_a_token_for_something_else_is_401(blossom: Blossom, data: bytes) -> None:
    """Another x or another verb is a missing authorization, not a refused one (403)."""
    for header in (token("delete", "0" * 64), token("get", sha(data)), token("upload", sha(data))):
        assert blossom.ask("DELETE", f"/{sha(data)}", Authorization=header).status == 401
    for header in (token("upload", "0" * 64), token("delete", sha(data))):
        assert blossom.put(data, Authorization=header).status == 401


def test_no_token_lasts_for_ever_and_null_is_no_error_of_ours(blossom: Blossom, data: bytes) -> None:
    """An expiration that is no number is none; JSON null is 401, not 500."""
    header = token("upload", sha(data), expires="abc")
    assert blossom.put(data, Authorization=header).status == 401
    null = "Nostr " + base64.b64encode(b"null").decode()
    assert blossom.put(data, Authorization=null).status == 401


@pytest.mark.parametrize("flaw", ["base64", "kind", "expired", "signature", "server"])
def test_every_token_refused_has_a_reason(blossom: Blossom, flaw: str) -> None:
    """X-Reason is there for parse errors too."""
    header = {
        "base64": "Nostr !",
        "kind": token("upload", "0" * 64, kind=1),
        "expired": token("upload", "0" * 64, expires=1_700_000_000),
        "signature": token("upload", "0" * 64, change={"sig": "0" * 128}),
        "server": token("upload", "0" * 64, servers=("x.example",)),
    }[flaw]
    reply = blossom.put(b"x", Authorization=header)
    assert reply.status == 401
    assert reply.reason


def test_a_public_get_asks_for_no_token(blossom: Blossom, data: bytes) -> None:
    """One that is broken or has expired is not looked at."""
    for header in ("Nostr !", token("get", sha(data), expires=1_700_000_000)):
        for method in ("GET", "HEAD"):
            assert blossom.ask(method, f"/{sha(data)}", Authorization=header).status == 200


def test_head_upload_is_200_and_checks_the_hash(blossom: Blossom) -> None:
    """200 rather than 204; a hash that is missing or malformed is 400, one not in the token 401."""
    told = {"Authorization": token("upload", "0" * 64), "X_Content_Length": "9"}
    assert blossom.ask("HEAD", "/upload", **told, X_SHA_256="0" * 64).status == 200  # type: ignore[arg-type]  # headers
    assert blossom.ask("HEAD", "/upload", **told).status == 400  # type: ignore[arg-type]  # headers
    assert blossom.ask("HEAD", "/upload", **told, X_SHA_256="x").status == 400  # type: ignore[arg-type]  # headers
    assert blossom.ask("HEAD", "/upload", **told, X_SHA_256="1" * 64).status == 401  # type: ignore[arg-type]  # headers


def test_a_mirror_says_what_is_new_and_what_does_not_match(tmp_path: Path, blossom: Blossom) -> None:
    """201 for a new blob, 200 for a known one, 409 where the bytes are not those of the token."""
    data = os.urandom(200)
    url = json.loads(blossom.put(data).body)["url"]
    with running(tmp_path / "mirror", open=True, mirror_hosts=(blossom.url,)) as mirror:
        statuses = [
            mirror.ask(
                "PUT", "/mirror", json.dumps({"url": url}).encode(), Authorization=token("upload", each)
            ).status
            for each in ("0" * 64, sha(data), sha(data))
        ]
    assert statuses == [409, 201, 200]


def test_a_second_upload_is_200_without_a_claimed_hash_too(blossom: Blossom, data: bytes) -> None:
    """What is there already is not created again."""
    assert blossom.put(data, X_SHA_256=None).status == 200


def test_nobody_owns_a_blob_by_naming_it(blossom: Blossom, data: bytes) -> None:
    """The body is read and hashed although the blob is there: other bytes are 409 and make no owner."""
    claim = token("upload", sha(data), key=BEN)
    assert blossom.put(b"other bytes", Authorization=claim, X_SHA_256=sha(data)).status == 409
    assert sha(data) not in _owned(blossom, BEN.pubkey, token("list", key=BEN))


def test_every_address_has_an_extension(blossom: Blossom) -> None:
    """.bin for octets (BUD-02)."""
    described = json.loads(blossom.put(os.urandom(9), Content_Type="application/octet-stream").body)
    assert described["url"] == f"{blossom.url}/{described['sha256']}.bin"


@pytest.mark.parametrize(
    ("header", "status", "length"),
    [("bytes=100-5000", 206, 100), ("bytes=-5000", 206, 200), ("x=0-1", 200, 200)],
)
def test_a_range_too_long_is_clamped(
    blossom: Blossom, data: bytes, header: str, status: int, length: int
) -> None:
    """And an unknown unit is ignored (RFC 9110, 14.2), not 416."""
    reply = blossom.ask("GET", f"/{sha(data)}", Range=header)
    assert (reply.status, len(reply.body)) == (status, length)


@pytest.mark.parametrize("path", ["/{}00", "/x{}", "/{}x", "/a/{}", "/{}/a"])
def test_a_hash_with_junk_around_it_is_none(blossom: Blossom, data: bytes, path: str) -> None:
    """Only a path that is a hash, with or without an extension, names a blob."""
    assert blossom.ask("GET", path.format(sha(data))).status in (400, 404)


def test_nothing_is_taken_that_a_browser_would_act_on(blossom: Blossom, data: bytes) -> None:
    """No empty blob, no markup as a type, no page; what is served is an inert attachment."""
    assert blossom.put(b"").status == 400
    assert blossom.put(b"<b>", Content_Type="text/<b>x").status == 400
    assert blossom.put(b"<b>", Content_Type="text/html").status == 415
    headers = blossom.ask("GET", f"/{sha(data)}").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Content-Disposition"].startswith("attachment;")


def test_stalled_uploads_of_one_key_block_nobody(tmp_path: Path) -> None:
    """Sixteen bodies that never come: another key uploads meanwhile, and the stalled ones are ended."""
    options = {"allow": (ANA.pubkey, BEN.pubkey), "idle_timeout": 1.0}
    with running(tmp_path, **options) as server, ExitStack() as stack:
        head = f"PUT /upload HTTP/1.1\r\nHost: x\r\nAuthorization: {token('upload', '0' * 64)}\r\n"
        stalled = [
            stack.enter_context(socket.create_connection(server.address, timeout=20)) for _ in range(16)
        ]
        for peer in stalled:
            peer.sendall(f"{head}Content-Length: 1000\r\n\r\nabc".encode())
        assert server.put(os.urandom(1000), key=BEN).status == 201
        for peer in stalled:
            assert peer.recv(4096).split()[1] in (b"408", b"429")  # too slow, or one too many at once
        assert server.put(os.urandom(1000)).status == 201


def test_a_delete_token_deletes_once_also_after_a_restart(tmp_path: Path) -> None:
    """Used again it is 401 for as long as it is valid, whatever happened since; another token is taken."""
    data = os.urandom(200)
    header, fresh = token("delete", sha(data)), token("delete", sha(data))  # most likely of one id
    for wished, said in ((204, 404), (401, 401)):
        with running(tmp_path, open=True) as server:
            assert server.put(data).status == 201 if wished == 204 else 200
            assert server.ask("DELETE", f"/{sha(data)}", Authorization=header).status == wished
            assert server.ask("DELETE", f"/{sha(data)}", Authorization=header).status == said
            server.put(data)
    with running(tmp_path, open=True) as server:
        assert server.ask("GET", f"/{sha(data)}").body == data
        assert server.ask("DELETE", f"/{sha(data)}", Authorization=fresh).status == 204


def test_octets_do_not_outlive_the_rest(tmp_path: Path) -> None:
    """A rule for every type holds for blobs of no known type too, from their upload on, read or not."""
    with running(tmp_path, open=True, retention=(Rule(keep=2),), sweep_interval=0.2) as server:
        blobs = {kind: os.urandom(100) for kind in ("application/zip", "application/octet-stream", None)}
        for kind, data in blobs.items():
            assert server.put(data, Content_Type=kind).status == 201
        deadline = time.monotonic() + 20
        while server.files() and time.monotonic() < deadline:
            for data in blobs.values():
                server.ask("GET", f"/{sha(data)}")  # being read keeps nothing
            time.sleep(0.1)
        assert server.files() == []
