from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blossom_server import ANA, BEN, Blossom, Reply, running, sha, token

_DATA = bytes(range(200))
_H = sha(_DATA)
_ETAG = f'"{_H}"'


@pytest.fixture(scope="module", autouse=True)
def _uploaded(blossom: Blossom) -> None:
    assert blossom.put(_DATA).status == 201


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blossom]:
    """Run a private server for ana, with the blob."""
    with running(tmp_path_factory.mktemp("private"), allow=(ANA.pubkey,), private=True) as server:
        assert server.put(_DATA).status == 201
        yield server


def _download(server: Blossom, method: str = "GET", **headers: str) -> Reply:
    return server.ask(method, f"/{_H}", **headers)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path", [f"/{_H}", f"/{_H}.zip", f"/{_H}.bin", f"/{_H}.x?xs=a&as=b", f"http://h/{_H}"]
)
def test_a_blob_is_served_with_headers_that_keep_it_inert(blossom: Blossom, method: str, path: str) -> None:
    """Any extension will do; type, length and what keeps a browser from acting on it are there."""
    reply = blossom.ask(method, path)
    assert reply.status == 200
    assert reply.body == (_DATA if method == "GET" else b"")
    told = {
        "Content-Type": "application/zip",
        "Content-Length": "200",
        "Accept-Ranges": "bytes",
        "ETag": _ETAG,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": f'attachment; filename="{_H}.zip"',
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Access-Control-Allow-Origin": "*",
    }
    assert {name: reply.headers[name] for name in told} == told
    assert "immutable" in reply.headers["Cache-Control"]
    assert reply.headers["Set-Cookie"] is None
    assert "aiohttp" not in reply.headers["Server"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/{'0' * 64}", 404),
        (f"/{_H.upper()}", 400),
        (f"/{_H}00", 400),
        (f"/{_H[:-1]}", 400),
        (f"/x{_H}", 400),
        (f"/{_H}.", 400),
        (f"/{_H}.a/b", 400),
        (f"/{_H}.abcdefghijk", 400),
        (f"/{_H}%2ezip", 400),
        (f"/{_H}%00", 400),
        (f"//{_H}", 400),
        (f"/blobs/{_H[:2]}/{_H[2:4]}/{_H}", 404),
        ("/../allowlist.json", 404),
        ("/..%2f..%2fetc%2fpasswd", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/blossom.sqlite", 404),
        ("/mirror", 404),
        ("/favicon.ico", 404),
    ],
)
def test_only_a_hash_names_a_blob(blossom: Blossom, path: str, status: int) -> None:
    """Junk around the hash is 400, anything else 404; no path reaches into the folder."""
    for method in ("GET", "HEAD"):
        reply = blossom.ask(method, path)
        assert reply.status == status
        assert reply.reason
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert b"passwd" not in reply.body


@pytest.mark.parametrize("header", ["Nostr x", "Bearer y", token("upload"), token("get", expires="abc"), ""])
def test_a_bad_token_does_not_spoil_a_public_get(blossom: Blossom, header: str) -> None:
    """Where no token is needed none is looked at."""
    assert _download(blossom, Authorization=header).status == 200


@pytest.mark.parametrize(
    ("header", "status", "expected", "told"),
    [
        ("bytes=0-9", 206, _DATA[:10], "bytes 0-9/200"),
        ("bytes=100-5000", 206, _DATA[100:], "bytes 100-199/200"),
        ("bytes=190-", 206, _DATA[190:], "bytes 190-199/200"),
        ("bytes=-5", 206, _DATA[-5:], "bytes 195-199/200"),
        ("bytes=-5000", 206, _DATA, "bytes 0-199/200"),
        ("bytes=0-0,5-9", 200, _DATA, None),
        ("bytes=9-1", 200, _DATA, None),
        ("lines=0-1", 200, _DATA, None),
    ],
)
def test_ranges_are_served(
    blossom: Blossom, header: str, status: int, expected: bytes, told: str | None
) -> None:
    """One range is clamped to the blob; what is no single range of bytes is ignored."""
    reply = _download(blossom, Range=header)
    assert (reply.status, reply.body, reply.headers["Content-Range"]) == (status, expected, told)
    head = _download(blossom, "HEAD", Range=header)
    assert (head.status, head.headers["Content-Length"]) == (200, "200")


def test_a_range_past_the_end_is_416(blossom: Blossom) -> None:
    """The answer tells how long the blob is."""
    reply = _download(blossom, Range="bytes=200-")
    assert (reply.status, reply.headers["Content-Range"]) == (416, "bytes */200")


def test_if_range_and_if_none_match_compare_the_tag(blossom: Blossom) -> None:
    """If-Range with another tag gives the whole; If-None-Match with ours gives 304 before any range."""
    assert _download(blossom, Range="bytes=0-9", If_Range=_ETAG).status == 206
    assert _download(blossom, Range="bytes=0-9", If_Range='"x"').status == 200
    for header in (_ETAG, f'W/{_ETAG}, "x"', "*"):
        reply = _download(blossom, If_None_Match=header, Range="bytes=0-9")
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", _ETAG)
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert _download(blossom, If_None_Match='"x"').status == 200


def test_connections_stay_open_across_answers(blossom: Blossom) -> None:
    """Blobs, parts, 304 and errors can follow each other on one connection."""
    connection = http.client.HTTPConnection(*blossom.address, timeout=10)
    seen = []
    for method, path, headers in (
        ("GET", f"/{_H}", {}),
        ("GET", f"/{_H}", {"Range": "bytes=0-9"}),
        ("HEAD", f"/{_H}", {}),
        ("GET", f"/{_H}", {"If-None-Match": "*"}),
        ("GET", "/nothing", {}),
        ("OPTIONS", "/upload", {}),
        ("GET", f"/{_H}", {}),
    ):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        seen.append((response.status, len(response.read())))
        assert not response.will_close
    connection.close()
    assert [status for status, _ in seen] == [200, 206, 200, 304, 404, 204, 200]
    assert seen[0] == seen[-1] == (200, 200)


@pytest.mark.parametrize("path", ["/", "/upload", f"/{_H}", "/nothing", f"/{_H}00", "*"])
def test_a_preflight_is_answered_everywhere(blossom: Blossom, path: str) -> None:
    """OPTIONS gives 204 and the headers of BUD-01."""
    reply = blossom.ask("OPTIONS", path)
    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["Access-Control-Allow-Headers"] == "Authorization, *"
    assert {"GET", "HEAD", "PUT", "DELETE"} <= set(reply.headers["Access-Control-Allow-Methods"].split(", "))
    assert reply.headers["Access-Control-Max-Age"] == "86400"


@pytest.mark.parametrize(("method", "path"), [("POST", f"/{_H}"), ("GET", "/upload"), ("PUT", f"/list/{_H}")])
def test_a_wrong_method_is_405(blossom: Blossom, method: str, path: str) -> None:
    """The methods that would do are told."""
    reply = blossom.ask(method, path, b"")
    assert reply.status == 405
    assert "OPTIONS" in reply.headers["Allow"]


def test_a_person_is_told_what_this_is(blossom: Blossom) -> None:
    """The root is a line of plain text."""
    reply = blossom.ask("GET", "/")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")


def test_what_is_not_http_gets_400_with_cors(blossom: Blossom) -> None:
    """A request that cannot be read is answered like any other, and not repeated in the answer."""
    with socket.create_connection(blossom.address, timeout=10) as peer:
        peer.sendall(b"SECRET\x00NONSENSE\r\n\r\n")
        answer = peer.recv(4096)
    assert answer.startswith(b"HTTP/1.")
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"Access-Control-Allow-Origin: *" in answer
    assert b"SECRET" not in answer


# --- private servers ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_private_server_wants_a_token_of_a_listed_key(private: Blossom, method: str) -> None:
    """GET and HEAD need a token for get, for this blob if it names any, of a key on the list."""
    table = [
        (None, 401),
        ("Nostr x", 401),
        (token("upload", _H), 401),
        (token("get", "0" * 64), 401),
        (token("get", _H, key=BEN), 403),
        (token("get", _H), 200),
        (token("get"), 200),
        (token("get", "0" * 64, _H), 200),
    ]
    for header, status in table:
        assert private.ask(method, f"/{_H}", Authorization=header).status == status
    assert private.ask(method, f"/{'0' * 64}").status == 401
    reply = private.ask(method, f"/{_H}", Authorization=token("get"))
    assert reply.headers["Cache-Control"].startswith("private")


# --- DELETE and /list ---


def test_an_owner_deletes_a_blob_once_a_token(blossom: Blossom) -> None:
    """204, then 404; a used token cannot delete a blob that has come back."""
    data = os.urandom(50)
    header = token("delete", sha(data))
    blossom.put(data)
    assert blossom.ask("DELETE", f"/{sha(data)}.zip", Authorization=header).status == 204
    assert blossom.ask("DELETE", f"/{sha(data)}", Authorization=header).status == 404
    assert blossom.ask("GET", f"/{sha(data)}").status == 404
    assert not [path for path in blossom.files() if path.name == sha(data)]
    blossom.put(data)
    assert blossom.ask("DELETE", f"/{sha(data)}", Authorization=header).status == 401
    assert blossom.ask("GET", f"/{sha(data)}").status == 200


def test_a_delete_is_refused_to_others(blossom: Blossom) -> None:
    """No token, no x, a wrong verb: 401; another key: 403; several x tags delete one blob only."""
    other = os.urandom(50)
    blossom.put(other)
    for header, status in (
        (None, 401),
        (token("delete"), 401),
        (token("delete", "0" * 64), 401),
        (token("upload", _H), 401),
        (token("delete", _H, key=BEN), 403),
    ):
        assert blossom.ask("DELETE", f"/{_H}", Authorization=header).status == status
    reply = blossom.ask("DELETE", f"/{sha(other)}", Authorization=token("delete", sha(other), _H))
    assert reply.status == 204
    assert blossom.ask("GET", f"/{_H}").status == 200


def test_blobs_are_listed_to_their_owner_in_pages(tmp_path: Path) -> None:
    """The owner sees descriptors, youngest first, by cursor and limit; nobody else sees any."""
    with running(tmp_path, open=True) as server:
        blobs = {sha(data): data for data in (os.urandom(30) for _ in range(7))}
        for data in blobs.values():
            assert server.put(data).status == 201
        server.put(b"ben's", key=BEN)
        path = f"/list/{ANA.pubkey}"
        seen: list[str] = []
        cursor = ""
        for size in (3, 3, 1, 0):
            page = json.loads(server.ask("GET", f"{path}?limit=3{cursor}", Authorization=token("list")).body)
            assert len(page) == size
            seen += [item["sha256"] for item in page]
            cursor = f"&cursor={seen[-1]}"
        assert sorted(seen) == sorted(blobs)
        for header, status in ((None, 401), (token("get"), 401), (token("list", key=BEN), 403)):
            assert server.ask("GET", path, Authorization=header).status == status
        for query in ("limit=0", "limit=x", "limit=-1", "limit=1e3", "cursor=x", f"cursor={'0' * 64}"):
            assert server.ask("GET", f"{path}?{query}", Authorization=token("list")).status == 400
        assert server.ask("GET", "/list/abc", Authorization=token("list")).status == 400
