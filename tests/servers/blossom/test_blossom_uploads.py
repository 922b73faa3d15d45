from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from powdo.nips.curve import SecretKey
from tests.blossom_server import ANA, BEN, Blossom, Reply, running, sha, token

_STRANGER = SecretKey(bytes([9]) * 32)


def _blob(size: int = 1000) -> bytes:
    return os.urandom(size)


def test_an_upload_is_described_and_served_as_it_came(blossom: Blossom) -> None:
    """201 with the descriptor of BUD-02, then 200; the bytes come back unchanged."""
    data, now = _blob(300_000), int(time.time())
    reply = blossom.put(data)
    assert reply.status == 201
    described = json.loads(reply.body)
    uploaded = described.pop("uploaded")
    assert now - 1 <= uploaded <= time.time()
    assert described == {
        "url": f"{blossom.url}/{sha(data)}.zip",
        "sha256": sha(data),
        "size": 300_000,
        "type": "application/zip",
    }
    again = blossom.put(data)
    assert (again.status, json.loads(again.body)["uploaded"]) == (200, uploaded)
    assert blossom.ask("GET", f"/{sha(data)}").body == data


def test_an_upload_without_claimed_hash_is_taken_if_the_token_names_it(blossom: Blossom) -> None:
    """X-SHA-256 is optional for PUT: then the computed hash must be in the token."""
    data = _blob()
    assert blossom.put(data, X_SHA_256=None).status == 201
    other = _blob()
    reply = blossom.put(other, X_SHA_256=None, Authorization=token("upload", sha(data)))
    assert reply.status == 401
    assert blossom.ask("HEAD", f"/{sha(other)}").status == 404


def test_an_upload_without_type_is_octets(blossom: Blossom) -> None:
    """No Content-Type means application/octet-stream, whose extension is .bin; parameters are dropped."""
    for told in (None, "Application/Octet-Stream; charset=x"):
        described = json.loads(blossom.put(_blob(), Content_Type=told).body)
        assert described["type"] == "application/octet-stream"
        assert described["url"].endswith(".bin")


_DATA = _blob()
_H = sha(_DATA)
_REFUSED: dict[str, tuple[int, dict[str, str | None]]] = {
    "no token": (401, {"Authorization": None}),
    "a broken token": (401, {"Authorization": "Nostr x"}),
    "a token for get": (401, {"Authorization": token("get", _H)}),
    "a token without x": (401, {"Authorization": token("upload")}),
    "a token for another blob": (401, {"Authorization": token("upload", "0" * 64)}),
    "a token for another server": (401, {"Authorization": token("upload", _H, servers=("x.example",))}),
    "an expired token": (401, {"Authorization": token("upload", _H, expires=int(time.time()) - 1)}),
    "a stranger": (403, {"Authorization": token("upload", _H, key=_STRANGER)}),
    "a claimed hash in capitals": (400, {"X_SHA_256": _H.upper()}),
    "a claimed hash that is none": (400, {"X_SHA_256": "../../etc/passwd"}),
    "another hash claimed": (
        409,
        {"X_SHA_256": "0" * 64, "Authorization": token("upload", _H, "0" * 64)},
    ),
    "a type not taken": (415, {"Content_Type": "text/html"}),
    "a malformed type": (400, {"Content_Type": "text/<b>x"}),
    "a form": (415, {"Content_Type": "multipart/form-data; boundary=x"}),
    "a url-encoded form": (415, {"Content_Type": "application/x-www-form-urlencoded"}),
    "a coded body": (415, {"Content_Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_an_upload_is_refused_with_the_status_of_the_table(blossom: Blossom, name: str) -> None:
    """Each refusal has its status, an ASCII reason and CORS, and leaves nothing behind."""
    status, headers = _REFUSED[name]
    before = blossom.files()
    reply = blossom.put(_DATA, **headers)
    assert reply.status == status, reply.body
    assert reply.reason
    assert reply.reason.isascii()
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Reason" in reply.headers["Access-Control-Expose-Headers"]
    assert blossom.files() == before


def test_an_upload_needs_its_length(blossom: Blossom) -> None:
    """A chunked body is 411, an empty one 400, one too long 413 before it is read."""
    assert blossom.put(b"").status == 400
    with socket.create_connection(blossom.address, timeout=10) as peer:
        lines = [
            "PUT /upload HTTP/1.1",
            "Host: x",
            f"Authorization: {token('upload', _H)}",
            "Content-Type: application/zip",
        ]
        peer.sendall("\r\n".join([*lines, "Transfer-Encoding: chunked", "", "0", "", ""]).encode())
        assert peer.recv(4096).startswith(b"HTTP/1.1 411 ")
    with socket.create_connection(blossom.address, timeout=10) as peer:
        peer.sendall("\r\n".join([*lines, f"Content-Length: {(1 << 20) + 1}", "", ""]).encode())
        assert peer.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert blossom.put(_blob(1 << 20)).status == 201


def test_a_client_that_asks_first_sends_its_body_only_when_it_is_welcome(blossom: Blossom) -> None:
    """Expect: 100-continue is answered by 401 or by 100, then 201 (RFC 9110, 10.1.1)."""
    data = _blob()
    for told, expected in ((token("get"), b"HTTP/1.1 401 "), (token("upload", sha(data)), b"HTTP/1.1 100 ")):
        with socket.create_connection(blossom.address, timeout=10) as peer:
            head = f"PUT /upload HTTP/1.1\r\nHost: x\r\nAuthorization: {told}\r\nExpect: 100-continue\r\n"
            peer.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode())
            assert peer.recv(4096).startswith(expected)
            if b"100" in expected:
                peer.sendall(data)
                assert peer.recv(4096).startswith(b"HTTP/1.1 201 ")


def test_a_hash_alone_makes_nobody_an_owner(blossom: Blossom) -> None:
    """Who claims the hash of a blob that is there, but sends other bytes, gets 409 and no ownership."""
    data = _blob()
    assert blossom.put(data).status == 201
    claim = {"Authorization": token("upload", sha(data), key=BEN), "X_SHA_256": sha(data)}
    assert blossom.put(b"x" * len(data), **claim).status == 409
    assert (
        blossom.ask("DELETE", f"/{sha(data)}", Authorization=token("delete", sha(data), key=BEN)).status
        == 403
    )
    assert blossom.put(data, key=BEN).status == 200
    for key in (BEN, ANA):
        assert blossom.ask("HEAD", f"/{sha(data)}").status == 200
        gone = blossom.ask("DELETE", f"/{sha(data)}", Authorization=token("delete", sha(data), key=key))
        assert gone.status == 204
    assert blossom.ask("HEAD", f"/{sha(data)}").status == 404


def test_an_upload_cut_off_leaves_nothing(blossom: Blossom) -> None:
    """A client that goes away midway leaves neither blob nor temporary file."""
    data = _blob(1 << 20)
    before = blossom.files()
    head = f"PUT /upload HTTP/1.1\r\nHost: x\r\nAuthorization: {token('upload', sha(data))}\r\n"
    with socket.create_connection(blossom.address, timeout=10) as peer:
        peer.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:900_000])
        deadline = time.monotonic() + 10
        while blossom.files() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert blossom.files() != before
    while blossom.files() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert blossom.files() == before


def test_concurrent_uploads_of_one_blob_make_one_blob(blossom: Blossom) -> None:
    """Many uploads of the same bytes at once: one 201, the others 200, one file, whole."""
    data = _blob(400_000)
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda key: replies.append(blossom.put(data, key=key)), args=[key])
        for key in (ANA, BEN) * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [200] * 7 + [201]
    assert blossom.ask("GET", f"/{sha(data)}").body == data
    assert [path for path in blossom.files() if path.name == sha(data)] == [
        blossom.data / "blobs" / sha(data)[:2] / sha(data)[2:4] / sha(data)
    ]


def test_a_body_that_stalls_is_ended(tmp_path: Path) -> None:
    """A sender that rests too long, or is too slow over all, gets 408."""
    data = _blob(50_000)
    with running(tmp_path / "b", open=True, idle_timeout=0.3, min_rate=100_000) as server:
        head = f"PUT /upload HTTP/1.1\r\nHost: x\r\nAuthorization: {token('upload', sha(data))}\r\n"
        for rest in (60.0, 0.1):
            with socket.create_connection(server.address, timeout=10) as peer:
                peer.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode())
                peer.settimeout(rest)
                answer = b""
                for number in range(50):
                    try:
                        peer.sendall(data[number : number + 1])
                        answer = peer.recv(4096)
                        break
                    except TimeoutError:
                        continue
                assert answer.startswith(b"HTTP/1.1 408 ")
        assert server.put(data).status == 201


# --- HEAD /upload ---

_ASKED: dict[str, tuple[int, dict[str, str | None]]] = {
    "fine": (200, {}),
    "no type": (200, {"X_Content_Type": None}),
    "no token": (401, {"Authorization": None}),
    "a token for another blob": (401, {"Authorization": token("upload", "0" * 64)}),
    "a stranger": (403, {"Authorization": token("upload", _H, key=_STRANGER)}),
    "no hash": (400, {"X_SHA_256": None}),
    "a malformed hash": (400, {"X_SHA_256": "0" * 63}),
    "no length": (411, {"X_Content_Length": None}),
    "a malformed length": (400, {"X_Content_Length": "-1"}),
    "a length in other digits": (400, {"X_Content_Length": "٣".encode().decode("latin-1")}),
    "empty": (400, {"X_Content_Length": "0"}),
    "too long": (413, {"X_Content_Length": str((1 << 20) + 1)}),
    "much too long": (400, {"X_Content_Length": "9" * 400}),
    "a type not taken": (415, {"X_Content_Type": "image/png"}),
}


@pytest.mark.parametrize("name", _ASKED)
def test_an_upload_can_be_asked_for_first(blossom: Blossom, name: str) -> None:
    """HEAD /upload answers as PUT would, without a body (BUD-06)."""
    status, headers = _ASKED[name]
    told: dict[str, Any] = {
        "Authorization": token("upload", _H),
        "X_SHA_256": _H,
        "X_Content_Type": "application/zip",
        "X_Content_Length": "1000",
    }
    reply = blossom.ask("HEAD", "/upload", **(told | headers))
    assert (reply.status, reply.body) == (status, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert (reply.reason is None) == (status == 200)


def test_an_open_server_takes_blobs_from_everybody(tmp_path: Path) -> None:
    """With `open` no list is asked; without, and with an empty list, nobody may upload."""
    data = _blob()
    with running(tmp_path / "open", open=True) as server:
        assert server.put(data, key=_STRANGER).status == 201
    with running(tmp_path / "closed") as server:
        assert server.put(data, key=_STRANGER).status == 403
        assert server.put(data, Authorization=None).status == 401


def test_the_allowlist_file_is_followed(tmp_path: Path) -> None:
    """A key that is put into allowlist.json while the server runs may upload within about a second."""
    data = _blob()
    with running(tmp_path) as server:
        assert server.put(data).status == 403
        (tmp_path / "allowlist.json").write_text(json.dumps({"pubkeys": [ANA.pubkey]}))
        time.sleep(1.1)
        assert server.put(data).status == 201
