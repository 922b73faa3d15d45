"""PUT /mirror (BUD-04) from origins that behave and that misbehave."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from powdo.nips.curve import SecretKey
from tests.blossom_server import ANA, BEN, Blossom, running, sha, token
from tests.servers.blossom.origin import DATA, Origin, mirror

_STRANGER = SecretKey(bytes([9]) * 32)


def test_a_mirrored_blob_is_kept_as_an_uploaded_one(mirroring: Blossom, origin: Origin) -> None:
    """201 with our descriptor, then 200; the blob is served, owned, listed, and can be deleted."""
    reply = mirror(mirroring, f"{origin.url}/{sha(DATA)}.zip")
    assert reply.status == 201
    described = json.loads(reply.body)
    assert described.pop("uploaded") <= time.time()
    assert described == {
        "url": f"{mirroring.url}/{sha(DATA)}.zip",
        "sha256": sha(DATA),
        "size": len(DATA),
        "type": "application/zip",
    }
    assert mirror(mirroring, f"{origin.url}/any/path?x=1", X_SHA_256=sha(DATA)).status == 200
    assert mirroring.ask("GET", f"/{sha(DATA)}").body == DATA
    listed = mirroring.ask("GET", f"/list/{ANA.pubkey}", Authorization=token("list")).body
    assert [item["sha256"] for item in json.loads(listed)] == [sha(DATA)]
    gone = mirroring.ask("DELETE", f"/{sha(DATA)}", Authorization=token("delete", sha(DATA)))
    assert gone.status == 204


def test_an_origin_learns_nothing_of_who_asks(mirroring: Blossom, origin: Origin) -> None:
    """The request to the origin has no token, no cookie, no address, and asks for the bytes as they are."""
    assert mirror(mirroring, f"{origin.url}/{sha(DATA)}?as={ANA.pubkey}#x").status == 201
    (request,) = origin.requests
    first, *lines = request.decode().splitlines()
    assert first == f"GET /{sha(DATA)}?as={ANA.pubkey} HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in lines if line}
    assert names <= {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert "Accept-Encoding: identity" in lines


_BAD: dict[str, tuple[int, Callable[[Origin], None]]] = {
    "not there": (502, lambda o: o.says(b"", status="404 Not Found")),
    "moved": (502, lambda o: o.says(b"", f"Location: {o.url}/x", status="302 Found")),
    "a part": (502, lambda o: o.says(DATA, status="206 Partial Content")),
    "no length": (502, lambda o: o.says(DATA, length=False)),
    "a negative length": (502, lambda o: o.says(DATA, length="-1")),
    "a length that is none": (502, lambda o: o.says(DATA, length="1e3")),
    "empty": (502, lambda o: o.says(b"")),
    "shorter than told": (502, lambda o: o.says(DATA, length=len(DATA) + 1)),
    "longer than told": (502, lambda o: o.says(DATA, length=len(DATA) - 1)),
    "coded": (502, lambda o: o.says(DATA, "Content-Encoding: gzip")),
    "chunked": (502, lambda o: o.says(b"0\r\n\r\n", "Transfer-Encoding: chunked", length=False)),
    "a malformed type": (502, lambda o: o.says(DATA, "Content-Type: text/<b>x")),
    "nonsense": (502, lambda o: setattr(o, "answer", b"NONSENSE\r\n\r\n")),
    "nothing": (502, lambda o: setattr(o, "answer", b"")),
    "endless headers": (502, lambda o: setattr(o, "answer", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)),
    "too large": (413, lambda o: o.says(DATA, length=(1 << 20) + 1)),
    "a type not taken": (415, lambda o: o.says(DATA, "Content-Type: text/html")),
    "other bytes": (409, lambda o: o.says(DATA[:-1])),
}


@pytest.mark.parametrize("name", _BAD)
def test_an_origin_that_cannot_be_used_is_told(mirroring: Blossom, origin: Origin, name: str) -> None:
    """502 where the origin is at fault, 413 and 415 as for uploads, 409 for other bytes; nothing is kept."""
    status, make = _BAD[name]
    make(origin)
    before = mirroring.files()
    reply = mirror(mirroring, f"{origin.url}/{sha(DATA)}")
    # the byte too many may come after the hash has been found wrong
    assert reply.status == status or (name == "longer than told" and reply.status == 409), reply.reason
    assert reply.reason
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert mirroring.eventually(lambda: mirroring.files() == before)  # the disk may be at it still
    assert len(set(origin.requests)) == 1  # no redirect is followed


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_an_origin_that_stalls_is_given_up(tmp_path: Path, origin: Origin, answer: bytes) -> None:
    """502 after the idle time, before the headers, among them and within the body; no temporary file."""
    origin.patience, origin.answer = 30.0, answer
    with running(tmp_path / "m", open=True, idle_timeout=0.4, mirror_hosts=(origin.url,)) as server:
        begin = time.monotonic()
        assert mirror(server, f"{origin.url}/x").status == 502
        assert time.monotonic() - begin < 10
        assert server.files() == []


def test_x_sha_256_is_held_against_what_was_fetched(mirroring: Blossom, origin: Origin) -> None:
    """The hash a client claims must be in its token, and be that of the bytes."""
    url, other = f"{origin.url}/x", "0" * 64
    assert mirror(mirroring, url, sha(DATA), X_SHA_256=other).status == 401
    assert mirror(mirroring, url, sha(DATA), X_SHA_256="x").status == 400
    assert origin.requests == []
    assert mirror(mirroring, url, sha(DATA), other, X_SHA_256=other).status == 409
    assert mirror(mirroring, url, sha(DATA), other, X_SHA_256=sha(DATA)).status == 201


def test_a_mirrored_blob_goes_when_its_owner_wished(mirroring: Blossom, origin: Origin) -> None:
    """X-Expiration holds for mirrors as for uploads."""
    assert mirror(mirroring, f"{origin.url}/x", X_Expiration="1700000000").status == 400
    assert origin.requests == []
    assert mirror(mirroring, f"{origin.url}/x", X_Expiration="4000000000").status == 201
    assert mirroring.ask("HEAD", f"/{sha(DATA)}").headers["Sunset"] == "Tue, 02 Oct 2096 07:06:40 GMT"


def test_a_mirror_counts_as_an_upload(tmp_path: Path, origin: Origin) -> None:
    """Quota and uploads at once are those of the key that asks; what is over is refused."""
    options = {"open": True, "mirror_hosts": (origin.url,), "quota": 60_000, "max_uploads_per_pubkey": 1}
    with running(tmp_path / "m", **options) as server:
        assert server.put(os.urandom(20_000)).status == 201
        reply = mirror(server, f"{origin.url}/x")
        assert (reply.status, len(origin.requests)) == (507, 1)
        origin.patience = 30.0
        origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
        slow = threading.Thread(target=mirror, args=(server, f"{origin.url}/slow"))
        slow.start()
        while len(origin.requests) < 2:
            slow.join(0.01)
        assert mirror(server, f"{origin.url}/x").status == 429
        assert server.put(os.urandom(10)).status == 429
        assert server.put(os.urandom(10), key=BEN).status == 201
        origin.released.set()
        slow.join()


def test_who_may_not_upload_may_not_mirror(mirroring: Blossom, origin: Origin) -> None:
    """Without a token that names a blob 401, off the list 403; the origin is not asked."""
    for header, status in (
        (None, 401),
        ("Nostr x", 401),
        (token("upload"), 401),
        (token("get", sha(DATA)), 401),
        (token("upload", sha(DATA), servers=("x.example",)), 401),
        (token("upload", sha(DATA), key=_STRANGER), 403),
    ):
        assert mirror(mirroring, f"{origin.url}/x", Authorization=header).status == status
    assert origin.requests == []


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"url":1}', b'{"url":null}', b'"http://h/x"', b"{", b"\xff", b"[" * 8000],
)
def test_a_wish_that_is_none_is_400(mirroring: Blossom, body: bytes) -> None:
    """The body is a JSON object with a url."""
    reply = mirroring.ask("PUT", "/mirror", body, Authorization=token("upload", sha(DATA)))
    assert (reply.status, reply.reason) == (400, 'the body is not {"url": ...}')


def test_a_wish_too_long_is_413(mirroring: Blossom) -> None:
    """A body is read no further than a URL can be long."""
    assert mirror(mirroring, "https://x.example/" + "x" * 9000).status == 413


def test_a_server_that_does_not_mirror_knows_no_such_path(tmp_path: Path) -> None:
    """Off by default: 404 for every method; on, other methods than PUT are 405."""
    with running(tmp_path / "off", open=True) as server:
        assert mirror(server, f"{server.url}/x").status == 404
    with running(tmp_path / "on", open=True, mirror_hosts=("https://x.example",)) as server:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            reply = server.ask(method, "/mirror", b"")
            assert (reply.status, reply.headers["Allow"]) == (405, "PUT, OPTIONS")


def test_one_of_our_servers_mirrors_from_another(tmp_path: Path) -> None:
    """Two servers of ours: what was uploaded to one is fetched by the other."""
    with (
        running(tmp_path / "one", open=True) as one,
        running(tmp_path / "two", open=True, mirror_hosts=(one.url,)) as two,
    ):
        described = json.loads(one.put(DATA).body)
        assert mirror(two, described["url"]).status == 201
        assert two.ask("GET", f"/{sha(DATA)}").body == DATA
