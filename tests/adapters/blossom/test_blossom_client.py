from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from powdo.adapters.blossom import BlossomClient, Downloads, check_file, download
from powdo.errors import (
    BadRecordError,
    InputMissingError,
    KeyRejectedError,
    OutputError,
    PeerAwayError,
    PeerProtocolError,
    PowdoError,
    RefusedError,
    RetryLaterError,
)
from powdo.nips.curve import SecretKey
from tests.blossom_server import ANA, BEN, running, sha

_DATA = os.urandom(300_000)
_H = sha(_DATA)
_SIZE = len(_DATA)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    """Return a file to upload."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(_DATA)
    return path


# --- a peer that says anything ---


@dataclass
class Peer:
    """A TCP server that answers each request by what the test wrote: status line, headers, body."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)


Answer = bytes | Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(**answers: Answer) -> Iterator[Peer]:
    """Run a peer whose *answers* are by method, or `HEAD_upload` for HEAD /upload; one a connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    result = Peer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    done = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := connection.recv(65536)):
                    return
                head += data
            text, _, body = head.partition(b"\r\n\r\n")
            line = text.decode().split("\r\n")[0]
            method, path, _ = line.split(" ")
            result.requests.append(f"{method} {path}")
            found = re.search(rb"(?im)^authorization: (\S+ \S+)", text)
            result.tokens.append(found[1].decode() if found else "")
            length = re.search(rb"(?im)^content-length: (\d+)", text)
            left = int(length[1]) - len(body) if length else 0
            while left > 0 and (data := connection.recv(65536)):
                left -= len(data)
            answer = answers.get(f"{method}_{path[1:]}") or answers.get(method) or b"404 Not Found\r\n\r\n"
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(b"HTTP/1.1 " + answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while not done.is_set():
                connection, _ = listener.accept()
                thread = threading.Thread(target=talk, args=[connection], daemon=True)
                threads.append(thread)
                thread.start()

    threads: list[threading.Thread] = []
    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield result
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        for thread in threads:
            thread.join(10)


def _ok(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"{status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def _descriptor(**change: object) -> bytes:
    told = {
        "url": f"https://x/{_H}.zip",
        "sha256": _H,
        "size": _SIZE,
        "type": "application/zip",
        "uploaded": 1,
    }
    return _ok(json.dumps(told | change).encode(), "201 Created")


def _drip(piece: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(piece)
            time.sleep(0.1)

    return send


def _upload(url: str, blob: Path, timeout: float = 5.0) -> str:
    client = BlossomClient(url, ANA, timeout=timeout)
    try:
        return client.upload(blob, sha256=_H, size=_SIZE).url
    finally:
        client.close()


def _download(
    urls: list[str],
    path: Path,
    *,
    timeout: float = 5.0,
    allowed_origins: Sequence[str] = ("127.0.0.1",),
    key: SecretKey | None = None,
    size: int = _SIZE,
    progress: Callable[[int], object] | None = None,
) -> None:
    downloads = Downloads(allowed_origins, timeout=timeout, key=key)
    try:
        downloads.fetch(urls, sha256=_H, size=size, destination=path, progress=progress)
    finally:
        downloads.close()


# --- with our own server ---


def test_a_blob_goes_up_and_comes_down(tmp_path: Path, blob: Path) -> None:
    """Upload, again, download, list and delete against our server; progress counts every byte."""
    seen: list[int] = []
    with running(tmp_path / "server", allow=(ANA.pubkey,)) as server:
        client = BlossomClient(server.url, ANA)
        first = client.upload(blob, sha256=_H, size=_SIZE, progress=seen.append)
        assert first.url == f"{server.url}/{_H}.zip"
        assert (first.sha256, first.size, first.type, sum(seen)) == (_H, _SIZE, "application/zip", _SIZE)
        again = client.upload(blob, sha256=_H, size=_SIZE, progress=seen.append)
        assert (again.url, sum(seen)) == (first.url, _SIZE)
        assert list(client.owned()) == [first]
        into = tmp_path / "into"
        into.mkdir()
        target, counted = into / "got", []
        _download([f"{server.url}/{'0' * 64}", first.url], target, progress=counted.append)
        assert target.read_bytes() == _DATA
        assert target.stat().st_mode & 0o777 == 0o600
        assert sum(counted) == _SIZE
        assert client.delete(_H)
        assert not client.delete(_H)
        with pytest.raises(RetryLaterError, match="404"):
            _download([first.url], tmp_path / "gone")
        client.close()
    assert list(into.iterdir()) == [target]


def test_all_pages_of_a_list_are_read(tmp_path: Path) -> None:
    """More blobs than one page holds are all listed."""
    with running(tmp_path, open=True) as server:
        hashes = set()
        for number in range(103):
            server.put(str(number).encode())
            hashes.add(sha(str(number).encode()))
        client = BlossomClient(server.url, ANA)
        assert {item.sha256 for item in client.owned()} == hashes
        client.close()


def test_a_private_server_is_shown_a_token(tmp_path: Path, blob: Path) -> None:
    """A download signs a token where one is wanted; without a key, or off the list, the key is rejected."""
    with running(tmp_path / "server", allow=(ANA.pubkey,), private=True) as server:
        url = _upload(server.url, blob)
        _download([url], tmp_path / "got", key=ANA)
        assert (tmp_path / "got").read_bytes() == _DATA
        for key in (None, BEN):
            with pytest.raises(KeyRejectedError):
                _download([url], tmp_path / "other", key=key)


def test_a_key_off_the_list_and_a_blob_too_large_are_refused(tmp_path: Path, blob: Path) -> None:
    """403 is the key's fault (77), 413 is final (69); the body is not sent for either."""
    with running(tmp_path / "a", allow=(BEN.pubkey,)) as server:
        with pytest.raises(KeyRejectedError, match="allowlist"):
            _upload(server.url, blob)
        assert not any("PUT" in line for line in server.log)
    with running(tmp_path / "b", open=True, max_size=1000) as server:
        with pytest.raises(RefusedError, match="413"):
            _upload(server.url, blob)
        assert not any("PUT" in line for line in server.log)


def test_a_server_without_room_is_asked_again_later(tmp_path: Path, blob: Path) -> None:
    """A full quota passes (75): its oldest blobs go; the body is not sent in vain."""
    with running(tmp_path, open=True, quota=_SIZE + 100) as server:
        assert server.put(bytes(101)).status == 201
        with pytest.raises(RetryLaterError, match="this one has"):
            _upload(server.url, blob)
        assert not any(line.endswith("PUT /upload 507") for line in server.log)


# --- with peers that lie ---


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"url": 7}, None),
        ({"url": None, "type": None, "uploaded": "x"}, None),
        ({"sha256": "0" * 64}, PeerProtocolError),
        ({"sha256": None}, RetryLaterError),
        ({"size": _SIZE - 1}, PeerProtocolError),
        ({"size": str(_SIZE)}, RetryLaterError),
    ],
)
def test_a_descriptor_is_compared_and_its_url_not_believed(
    blob: Path, change: dict[str, object], expected: type[PowdoError] | None
) -> None:
    """Hash and size must be ours; an address elsewhere gives way to one on the server."""
    with peer(PUT=_descriptor(**change)) as server:
        if expected is None:
            assert _upload(server.url, blob).startswith(f"{server.url}/{_H}.")
        else:
            with pytest.raises(expected):
                _upload(server.url, blob)


@pytest.mark.parametrize(
    ("status", "expected", "puts"),
    [
        ("400 Bad Request", RefusedError, 1),
        ("401 Unauthorized", KeyRejectedError, 2),
        ("402 Payment Required", RefusedError, 1),
        ("403 Forbidden", KeyRejectedError, 1),
        ("409 Conflict", PeerProtocolError, 1),
        ("413 Content Too Large", RefusedError, 1),
        ("415 Unsupported Media Type", RefusedError, 2),
        ("429 Too Many Requests", RetryLaterError, 1),
        ("500 Internal Server Error", RetryLaterError, 1),
        ("503 Service Unavailable", RetryLaterError, 1),
        ("302 Found", RetryLaterError, 1),
        ("204 No Content", RetryLaterError, 1),
    ],
)
def test_each_status_of_an_upload_is_an_error_of_its_class(
    blob: Path, status: str, expected: type[PowdoError], puts: int
) -> None:
    """401 is signed anew once, 415 tried with the other type once; the rest is told at once."""
    told = _ok(b"", status, "X-Reason: because\r\nRetry-After: 60\r\nLocation: http://127.0.0.1:1/\r\n")
    with peer(PUT=told) as server:
        with pytest.raises(expected, match=f"{status[:3]}|payment"):
            _upload(server.url, blob)
        assert server.requests == [f"HEAD /{_H}", "HEAD /upload"] + ["PUT /upload"] * puts
        tokens = [each for each in server.tokens if each]
        assert len(set(tokens)) == len(tokens)


def test_a_server_that_says_it_has_the_blob_must_know_its_size(blob: Path) -> None:
    """HEAD 200 alone is not enough to spare the upload."""
    with peer(HEAD=_ok(b""), PUT=_descriptor()) as server:
        _upload(server.url, blob)
        assert "PUT /upload" in server.requests
    with peer(HEAD=f"200 OK\r\nContent-Length: {_SIZE}\r\n\r\n".encode()) as server:
        assert _upload(server.url, blob) == f"{server.url}/{_H}.zip"
        assert server.requests == [f"HEAD /{_H}"]


@pytest.mark.parametrize(
    "status", ["404 Not Found", "405 Method Not Allowed", "501 Not Implemented", "500 Oops"]
)
def test_a_server_that_cannot_be_asked_is_sent_the_blob(blob: Path, status: str) -> None:
    """HEAD /upload is optional: a server that does not know it may still take the blob."""
    with peer(HEAD_upload=_ok(b"", status), PUT=_descriptor()) as server:
        assert _upload(server.url, blob)


_BODY = b"200 OK\r\n\r\n"


def _endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(_DATA)


def _silent(connection: socket.socket) -> None:
    connection.recv(1)


_LIES: dict[str, tuple[Answer, type[PowdoError]]] = {
    "other bytes": (_BODY + bytes(_SIZE), PeerProtocolError),
    "fewer bytes": (_BODY + _DATA[:-1], PeerAwayError),
    "more bytes": (_BODY + _DATA + b"x", PeerProtocolError),
    "another length": (_ok(_DATA + b"x"), PeerProtocolError),
    "a cut": (f"200 OK\r\nContent-Length: {_SIZE}\r\n\r\n".encode() + _DATA[:99], PeerAwayError),
    "no end": (_endless, PeerProtocolError),
    "nothing": (_silent, PeerAwayError),
    "headers without end": (_drip(b"a"), PeerAwayError),
    "many headers": (_drip(b"a: b\r\n" * 200), RetryLaterError),
    "an empty body": (b"200 OK\r\n\r\n", PeerAwayError),
    "a cut among headers": (b"200 OK\r\nContent-Ty", PeerAwayError),
    "a cut within the length": (f"200 OK\r\nContent-Length: {_SIZE}".encode()[:-1], PeerAwayError),
    "a smaller length": (_ok(_DATA[1:]), PeerProtocolError),
    "not HTTP": (lambda connection: connection.sendall(b"SSH-2.0-x\r\n" * 9), RetryLaterError),
    "hanging up": (lambda connection: connection.close(), PeerAwayError),
    "500": (_ok(b"", "500 Oops"), RetryLaterError),
    "404": (_ok(b"", "404 Not Found"), RetryLaterError),
    "410": (_ok(b"", "410 Gone"), RefusedError),
    "403": (_ok(b"", "403 Forbidden"), KeyRejectedError),
    "part": (_ok(_DATA, "206 Partial Content"), RetryLaterError),
    "away": (_ok(b"", "307 Away", f"Location: https://evil.example/{_H}\r\n"), PeerProtocolError),
    "to a plain host": (_ok(b"", "307 Away", f"Location: http://localhost.evil/{_H}\r\n"), PeerProtocolError),
    "to another blob": (_ok(b"", "307 Away", f"Location: /{'0' * 64}\r\n"), PeerProtocolError),
    "nowhere": (_ok(b"", "307 Away"), PeerProtocolError),
    "in a circle": (_ok(b"", "307 Away", f"Location: /{_H}\r\n"), PeerProtocolError),
    "to a file": (_ok(b"", "307 Away", f"Location: file:///etc/passwd?{_H}\r\n"), PeerProtocolError),
    "compressed": (_ok(b"x", headers="Content-Encoding: gzip\r\n"), PeerProtocolError),
}


@pytest.mark.parametrize("name", _LIES)
def test_a_download_from_a_lying_peer_fails_in_time_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """Whatever a peer sends, there is no file, and an error of the right class in little time."""
    answer, expected = _LIES[name]
    into = tmp_path / "into"
    into.mkdir()
    with peer(GET=answer) as server:
        begin = time.monotonic()
        with pytest.raises(PowdoError) as caught:
            _download(
                [f"{server.url}/{_H}"],
                into / "got",
                timeout=0.7,
                allowed_origins=[server.url],
                size=_SIZE if name != "headers without end" else 100,
            )
        assert type(caught.value) is expected, caught.value
        assert time.monotonic() - begin < 8
        assert caught.value.message[0] in "'c"
        assert not caught.value.message.endswith(".")
    assert list(into.iterdir()) == []


def test_a_body_in_drops_meets_the_deadline(tmp_path: Path) -> None:
    """A peer that keeps each single wait short is still given up as a whole."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    with peer(GET=drip, HEAD=_drip(b"a")) as server:
        begin = time.monotonic()
        with pytest.raises(RetryLaterError, match="timed out"):
            _download([f"{server.url}/{_H}"], tmp_path / "got", timeout=0.5, size=1000)
        with pytest.raises(RetryLaterError, match="timed out"):
            BlossomClient(server.url, ANA, timeout=0.5).has(_H, 1)
        assert time.monotonic() - begin < 4


def test_a_redirect_to_an_allowed_host_is_followed(tmp_path: Path) -> None:
    """A redirect that names the same hash on an allowed host leads to the blob."""
    with (
        peer(GET=_ok(_DATA)) as other,
        peer(GET=_ok(b"", "307 Away", f"Location: {other.url}/{_H}.bin\r\n")) as server,
    ):
        _download([f"{server.url}/{_H}"], tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == _DATA
        with pytest.raises(PeerProtocolError, match="redirects"):
            _download([f"{server.url}/{_H}"], tmp_path / "b", allowed_origins=[server.url])


@pytest.mark.parametrize(("idle", "connections"), [(60.0, 1), (0.0, 2)])
def test_a_connection_is_kept_while_it_is_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: float, connections: int
) -> None:
    """Blobs follow one another over one connection, unless it lay idle for so long that it may be dead."""
    monkeypatch.setattr(download, "_IDLE", idle)
    accepted: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            accepted.append(self.request)
            super().setup()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(_SIZE))
            self.end_headers()
            self.wfile.write(_DATA)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        downloads = Downloads(["127.0.0.1"])
        for name in ("one", "two"):
            url = f"http://127.0.0.1:{server.server_address[1]}/{_H}"
            downloads.fetch([url], sha256=_H, size=_SIZE, destination=tmp_path / name)
            assert (tmp_path / name).read_bytes() == _DATA
        downloads.close()
        server.shutdown()
        thread.join()
    assert len(accepted) == connections


def test_nothing_off_the_list_is_ever_contacted(tmp_path: Path) -> None:
    """No request goes to a host that is not allowed, nor to one without TLS off this machine."""
    with peer(GET=_ok(_DATA)) as server:
        for urls in (
            [],
            [f"{server.url}/{_H}"],
            [f"http://cdn.example/{_H}"],
            ["file:///etc/passwd", "x", "//"],
        ):
            with pytest.raises(RefusedError, match="allowed host"):
                _download(urls, tmp_path / "got", allowed_origins=["cdn.example"])
        assert server.requests == []


def test_the_next_address_is_tried_and_the_hopeful_failure_told(tmp_path: Path) -> None:
    """A blob comes from whichever address has it; when none has, a chance for later outweighs a no."""
    with (
        peer(GET=_BODY + bytes(_SIZE)) as liar,
        peer(GET=_ok(_DATA)) as honest,
        peer(GET=_ok(b"", "503 x")) as busy,
    ):
        urls = [f"{each.url}/{_H}" for each in (liar, busy, honest)]
        _download(urls, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == _DATA
        with pytest.raises(RetryLaterError):
            _download(urls[:2], tmp_path / "other")


def test_a_server_that_is_away_is_tried_later(tmp_path: Path, blob: Path) -> None:
    """Nobody listening is 75, named with what the system says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RetryLaterError, match=f"cannot reach '{url}': Connection refused"):
        _upload(url, blob)
    with pytest.raises(RetryLaterError, match="Connection refused"):
        _download([f"{url}/{_H}"], tmp_path / "got")
    with pytest.raises(BadRecordError, match="not https"):
        BlossomClient("http://cdn.example", ANA)


def test_a_download_that_cannot_be_written_is_ours_to_tell(tmp_path: Path) -> None:
    """A folder that is not there is 74, not the peer's fault."""
    with peer(GET=_ok(_DATA)) as server, pytest.raises(OutputError, match="cannot write"):
        _download([f"{server.url}/{_H}"], tmp_path / "no" / "got")


def test_a_file_is_checked_before_it_is_uploaded(blob: Path, tmp_path: Path) -> None:
    """Another hash or size is 65, no file 66; one that shrinks under way is 65 too."""
    check_file(blob, sha256=_H, size=_SIZE)
    with pytest.raises(BadRecordError):
        check_file(blob, sha256=_H, size=_SIZE + 1)
    with pytest.raises(BadRecordError):
        check_file(blob, sha256="0" * 64, size=_SIZE)
    with pytest.raises(InputMissingError):
        check_file(tmp_path / "none", sha256=_H, size=_SIZE)
    with running(tmp_path / "server", open=True) as server:
        blob.write_bytes(_DATA[:1000])
        with pytest.raises(BadRecordError, match="shorter"):
            _upload(server.url, blob)
