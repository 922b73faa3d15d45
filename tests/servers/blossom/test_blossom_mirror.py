"""PUT /mirror (BUD-04) from origins that behave, misbehave, or are none of our business."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from powdo.nips.curve import SecretKey
from powdo.servers.blossom.origins import is_public
from tests.blossom_server import ANA, BEN, Blossom, Reply, running, sha, token

_DATA = os.urandom(50_000)
_STRANGER = SecretKey(bytes([9]) * 32)


@dataclass
class Origin:
    """A server that answers each connection with *answer* after its request, then closes."""

    url: str
    answer: bytes = b""
    requests: list[bytes] = field(default_factory=list)
    patience: float = 0.0  # seconds between the answer and the end of the connection, unless released
    released: threading.Event = field(default_factory=threading.Event)

    def says(self, body: bytes, *headers: str, status: str = "200 OK", length: object = None) -> None:
        """Set the answer; *length* False leaves Content-Length out."""
        lines = [f"HTTP/1.1 {status}", *headers]
        if length is not False:
            lines.append(f"Content-Length: {len(body) if length is None else length}")
        self.answer = "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def _origin() -> Iterator[Origin]:
    listener = socket.create_server(("127.0.0.1", 0))
    origin = Origin(f"http://127.0.0.1:{listener.getsockname()[1]}")

    def run() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                request = b""
                while b"\r\n\r\n" not in request and (data := peer.recv(65536)):
                    request += data
                origin.requests.append(request)
                try:
                    peer.sendall(origin.answer)
                except OSError:
                    continue  # it has had enough
                origin.released.wait(origin.patience)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield origin
    finally:
        origin.released.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Run an origin that has the blob as a zip."""
    with _origin() as made:
        made.says(_DATA, "Content-Type: application/zip")
        yield made


@pytest.fixture
def mirroring(tmp_path: Path, origin: Origin) -> Iterator[Blossom]:
    """Run a server for ana and ben that mirrors from *origin*, and is not patient."""
    options = {"allow": (ANA.pubkey, BEN.pubkey), "max_size": 1 << 20, "idle_timeout": 1.0}
    with running(tmp_path / "mirror", mirror_hosts=(origin.url,), **options) as server:
        yield server
        assert server.warnings == []


def _mirror(server: Blossom, url: object, *hashes: str, **headers: str | None) -> Reply:
    told: dict[str, str | None] = {
        "Authorization": token("upload", *(hashes or (sha(_DATA),))),
        "Content_Type": "application/json",
    }
    return server.ask("PUT", "/mirror", json.dumps({"url": url}).encode(), **(told | headers))


def test_a_mirrored_blob_is_kept_as_an_uploaded_one(mirroring: Blossom, origin: Origin) -> None:
    """201 with our descriptor, then 200; the blob is served, owned, listed, and can be deleted."""
    reply = _mirror(mirroring, f"{origin.url}/{sha(_DATA)}.zip")
    assert reply.status == 201
    described = json.loads(reply.body)
    assert described.pop("uploaded") <= time.time()
    assert described == {
        "url": f"{mirroring.url}/{sha(_DATA)}.zip",
        "sha256": sha(_DATA),
        "size": len(_DATA),
        "type": "application/zip",
    }
    assert _mirror(mirroring, f"{origin.url}/any/path?x=1", X_SHA_256=sha(_DATA)).status == 200
    assert mirroring.ask("GET", f"/{sha(_DATA)}").body == _DATA
    listed = mirroring.ask("GET", f"/list/{ANA.pubkey}", Authorization=token("list")).body
    assert [item["sha256"] for item in json.loads(listed)] == [sha(_DATA)]
    gone = mirroring.ask("DELETE", f"/{sha(_DATA)}", Authorization=token("delete", sha(_DATA)))
    assert gone.status == 204


def test_an_origin_learns_nothing_of_who_asks(mirroring: Blossom, origin: Origin) -> None:
    """The request to the origin has no token, no cookie, no address, and asks for the bytes as they are."""
    assert _mirror(mirroring, f"{origin.url}/{sha(_DATA)}?as={ANA.pubkey}#x").status == 201
    (request,) = origin.requests
    first, *lines = request.decode().splitlines()
    assert first == f"GET /{sha(_DATA)}?as={ANA.pubkey} HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in lines if line}
    assert names <= {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert "Accept-Encoding: identity" in lines


_BAD: dict[str, tuple[int, Callable[[Origin], None]]] = {
    "not there": (502, lambda o: o.says(b"", status="404 Not Found")),
    "moved": (502, lambda o: o.says(b"", f"Location: {o.url}/x", status="302 Found")),
    "a part": (502, lambda o: o.says(_DATA, status="206 Partial Content")),
    "no length": (502, lambda o: o.says(_DATA, length=False)),
    "a negative length": (502, lambda o: o.says(_DATA, length="-1")),
    "a length that is none": (502, lambda o: o.says(_DATA, length="1e3")),
    "empty": (502, lambda o: o.says(b"")),
    "shorter than told": (502, lambda o: o.says(_DATA, length=len(_DATA) + 1)),
    "longer than told": (502, lambda o: o.says(_DATA, length=len(_DATA) - 1)),
    "coded": (502, lambda o: o.says(_DATA, "Content-Encoding: gzip")),
    "chunked": (502, lambda o: o.says(b"0\r\n\r\n", "Transfer-Encoding: chunked", length=False)),
    "a malformed type": (502, lambda o: o.says(_DATA, "Content-Type: text/<b>x")),
    "nonsense": (502, lambda o: setattr(o, "answer", b"NONSENSE\r\n\r\n")),
    "nothing": (502, lambda o: setattr(o, "answer", b"")),
    "endless headers": (502, lambda o: setattr(o, "answer", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)),
    "too large": (413, lambda o: o.says(_DATA, length=(1 << 20) + 1)),
    "a type not taken": (415, lambda o: o.says(_DATA, "Content-Type: text/html")),
    "other bytes": (409, lambda o: o.says(_DATA[:-1])),
}


@pytest.mark.parametrize("name", _BAD)
def test_an_origin_that_cannot_be_used_is_told(mirroring: Blossom, origin: Origin, name: str) -> None:
    """502 where the origin is at fault, 413 and 415 as for uploads, 409 for other bytes; nothing is kept."""
    status, make = _BAD[name]
    make(origin)
    before = mirroring.files()
    reply = _mirror(mirroring, f"{origin.url}/{sha(_DATA)}")
    assert reply.status == status, reply.reason
    assert reply.reason
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert mirroring.files() == before
    assert len(set(origin.requests)) == 1  # no redirect is followed


def test_an_origin_that_stalls_is_given_up(mirroring: Blossom, origin: Origin) -> None:
    """502 after the idle time, before the headers and within the body, and no temporary file."""
    origin.patience = 30.0
    for answer in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"):
        origin.answer = answer
        begin = time.monotonic()
        with _origin() as slow:
            slow.patience, slow.answer = 30.0, answer
            options = {"open": True, "idle_timeout": 0.4, "mirror_hosts": (slow.url,)}
            with running(mirroring.data.parent / f"slow{len(answer)}", **options) as server:
                before = server.files()
                reply = _mirror(server, f"{slow.url}/x")
                assert (reply.status, server.files()) == (502, before)
        assert time.monotonic() - begin < 10


def test_x_sha_256_is_held_against_what_was_fetched(mirroring: Blossom, origin: Origin) -> None:
    """The hash a client claims must be in its token, and be that of the bytes."""
    url, other = f"{origin.url}/x", "0" * 64
    assert _mirror(mirroring, url, sha(_DATA), X_SHA_256=other).status == 401
    assert _mirror(mirroring, url, sha(_DATA), X_SHA_256="x").status == 400
    assert origin.requests == []
    assert _mirror(mirroring, url, sha(_DATA), other, X_SHA_256=other).status == 409
    assert _mirror(mirroring, url, sha(_DATA), other, X_SHA_256=sha(_DATA)).status == 201


def test_a_mirrored_blob_goes_when_its_owner_wished(mirroring: Blossom, origin: Origin) -> None:
    """X-Expiration holds for mirrors as for uploads."""
    assert _mirror(mirroring, f"{origin.url}/x", X_Expiration="1700000000").status == 400
    assert origin.requests == []
    assert _mirror(mirroring, f"{origin.url}/x", X_Expiration="4000000000").status == 201
    assert mirroring.ask("HEAD", f"/{sha(_DATA)}").headers["Sunset"] == "Tue, 02 Oct 2096 07:06:40 GMT"


def test_a_mirror_counts_as_an_upload(tmp_path: Path, origin: Origin) -> None:
    """Quota and uploads at once are those of the key that asks; what is over is refused."""
    options = {"open": True, "mirror_hosts": (origin.url,), "quota": 60_000, "max_uploads_per_pubkey": 1}
    with running(tmp_path / "m", **options) as server:
        assert server.put(os.urandom(20_000)).status == 201
        reply = _mirror(server, f"{origin.url}/x")
        assert (reply.status, len(origin.requests)) == (507, 1)
        origin.patience = 30.0
        origin.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
        slow = threading.Thread(target=_mirror, args=(server, f"{origin.url}/slow"))
        slow.start()
        while len(origin.requests) < 2:
            slow.join(0.01)
        assert _mirror(server, f"{origin.url}/x").status == 429
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
        (token("get", sha(_DATA)), 401),
        (token("upload", sha(_DATA), servers=("x.example",)), 401),
        (token("upload", sha(_DATA), key=_STRANGER), 403),
    ):
        assert _mirror(mirroring, f"{origin.url}/x", Authorization=header).status == status
    assert origin.requests == []


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"url":1}', b'{"url":null}', b'"http://h/x"', b"{", b"\xff", b"[" * 8000],
)
def test_a_wish_that_is_none_is_400(mirroring: Blossom, body: bytes) -> None:
    """The body is a JSON object with a url."""
    reply = mirroring.ask("PUT", "/mirror", body, Authorization=token("upload", sha(_DATA)))
    assert (reply.status, reply.reason) == (400, 'the body is not {"url": ...}')


def test_a_wish_too_long_is_413(mirroring: Blossom) -> None:
    """A body is read no further than a URL can be long."""
    assert _mirror(mirroring, "https://x.example/" + "x" * 9000).status == 413


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("ftp://127.0.0.1/x", 400),
        ("file:///etc/passwd", 400),
        ("//127.0.0.1/x", 400),
        ("x", 400),
        ("", 400),
        ("http:///x", 400),
        ("https://ana@origin.example/x", 400),
        ("https://origin.example\\@127.0.0.1/x", 400),
        ("https://origin.example/a b", 400),
        ("https://origin.example/\r\nX: y", 400),
        ("https://origin.example:0/x", 400),
        ("https://origin.example:99999/x", 400),
        ("https://[::1/x", 400),
        ("http://origin.example/x", 400),
        ("http://169.254.169.254/latest", 400),
        ("http://2130706433/x", 400),
        ("http://0x7f000001/x", 400),
        ("http://[::ffff:127.0.0.1]:{port}/x", 400),
        ("https://[::ffff:127.0.0.1]:{port}/x", 403),
        ("https://127.0.0.1:{port}/x", 403),
        ("http://127.0.0.1:1/x", 403),
        ("http://127.0.0.2:{port}/x", 403),
        ("http://localhost:{port}/x", 403),
        ("http://[::1]:{port}/x", 403),
        ("https://other.example/x", 403),
        ("https://origin.example.evil.example/x", 403),
        ("https://evil.example/https://origin.example/x", 403),
        ("https://evil.example?origin.example", 403),
        ("https://evil.example#origin.example", 403),
    ],
)
def test_no_address_that_was_not_named_is_asked(
    mirroring: Blossom, origin: Origin, url: str, status: int
) -> None:
    """Scheme, host and port must be those of the configuration, however the address is written."""
    url = url.replace("{port}", origin.url.rpartition(":")[2])
    assert _mirror(mirroring, url).status == status
    assert origin.requests == []


def _resolving(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> list[str]:
    """Let *names* (`a_example` for a.example) have these addresses; return the names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = str(host).replace(".", "_")
        if name not in names:
            return real(host, port, *args, **options)
        asked.append(host)
        options.pop("flags", None)
        return [found for address in names[name] for found in real(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"]
)
def test_a_name_that_leads_inside_is_not_followed(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A listed name whose address is not public is 502, looked up once, and nothing is connected to."""
    asked = _resolving(monkeypatch, inside_example=[address])
    port = origin.url.rpartition(":")[2]
    with running(tmp_path / "m", open=True, mirror_hosts=(f"https://inside.example:{port}",)) as server:
        assert _mirror(server, f"https://inside.example:{port}/x").status == 502
    assert asked == ["inside.example"]
    assert origin.requests == []


def test_localhost_leads_here_when_it_is_named(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator may name localhost; it is this machine and no other, whatever a resolver says."""
    url = origin.url.replace("127.0.0.1", "localhost")
    with running(tmp_path / "m", open=True, mirror_hosts=(url,)) as server:
        assert _mirror(server, f"{url}/x").status == 201
        _resolving(monkeypatch, localhost=["10.0.0.1"])
        assert _mirror(server, f"{url}/x").status == 502
        assert _mirror(server, f"{origin.url}/x").status == 403


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:1.1.1.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("100::1", False),
        ("2001:0:1::1", False),
        ("2001:db8::1", False),
        ("2002:7f00:1::1", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_only_hosts_of_the_internet_are_public(address: str, public: bool) -> None:
    """Private, shared, loopback, link-local, mapped, tunnelled, reserved and multicast addresses are not."""
    assert is_public(address) is public


def test_a_server_that_does_not_mirror_knows_no_such_path(tmp_path: Path) -> None:
    """Off by default: 404 for every method; on, other methods than PUT are 405."""
    with running(tmp_path / "off", open=True) as server:
        assert _mirror(server, f"{server.url}/x").status == 404
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
        described = json.loads(one.put(_DATA).body)
        assert _mirror(two, described["url"]).status == 201
        assert two.ask("GET", f"/{sha(_DATA)}").body == _DATA
