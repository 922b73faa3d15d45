"""The admin API over real sockets: what it answers to whom, and what it leaves as it was."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from powdo.nips.bech32 import encode_npub, encode_nsec
from powdo.servers.admin.wire import MAX_BODY
from tests.admin_client import SECRET, AdminClient, in_threads, pubkeys, server
from tests.admin_server import admin_api

A, B, C, D = pubkeys(4)
NSEC = encode_nsec(bytes([5]) * 32)


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[AdminClient]:
    """Return a client of a server whose own settings let D in."""
    with admin_api(tmp_path / "allowlist.json", always=[D]) as url:
        yield AdminClient(url)


def _file(tmp_path: Path) -> list[str]:
    return list(json.loads((tmp_path / "allowlist.json").read_bytes())["pubkeys"])


def test_keys_are_let_in_and_shut_out(admin: AdminClient, tmp_path: Path) -> None:
    """201 for a new key, 200 for a known one; 200 for one that goes, 404 for one that was not there."""
    assert admin.listed() == [D]
    reply = admin.ask("POST", "/admin/allow", {"pubkey": A})
    assert (reply.status, reply.value) == (201, {"pubkey": A})
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert admin.add(encode_npub(A)) == 200
    assert admin.add(encode_npub(B).upper()) == 201
    assert admin.listed() == sorted([A, B, D])
    assert _file(tmp_path) == sorted([A, B])
    reply = admin.ask("DELETE", "/admin/allow", {"pubkey": encode_npub(A)})
    assert (reply.status, reply.value) == (200, {"pubkey": A})
    assert admin.remove(A) == 404
    assert admin.listed() == sorted([B, D])
    assert stat.S_IMODE((tmp_path / "allowlist.json").stat().st_mode) == 0o600


def test_a_sync_says_what_it_changed(admin: AdminClient, tmp_path: Path) -> None:
    """What comes and goes adds up; a key that comes twice, as hex and npub, is one."""
    reply = admin.sync([A, B, encode_npub(A), A])
    assert (reply.status, reply.value) == (200, {"added": 2, "removed": 0, "total": 3})
    assert admin.sync([B, C]).value == {"added": 1, "removed": 1, "total": 3}
    assert admin.sync([B, C]).value == {"added": 0, "removed": 0, "total": 3}
    assert admin.listed() == sorted([B, C, D])
    assert admin.sync([]).value == {"added": 0, "removed": 2, "total": 1}
    assert _file(tmp_path) == []


def test_keys_of_the_settings_are_not_touched(admin: AdminClient) -> None:
    """A key that the settings let in is known, is not removed, and stays through a sync."""
    assert admin.add(D) == 200
    reply = admin.ask("DELETE", "/admin/allow", {"pubkey": D})
    assert reply.status == 409
    assert "settings" in reply.value["error"]
    assert admin.sync([A]).value == {"added": 1, "removed": 0, "total": 2}
    assert admin.listed() == sorted([A, D])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"pubkey": NaN}',
        b"\xff",
        b"[" * 100_000,
        json.dumps({}).encode(),
        json.dumps({"pubkey": None}).encode(),
        json.dumps({"pubkey": 1}).encode(),
        json.dumps({"pubkey": [A]}).encode(),
        json.dumps({"pubkey": ""}).encode(),
        json.dumps({"pubkey": A[:-1]}).encode(),
        json.dumps({"pubkey": A + "0"}).encode(),
        json.dumps({"pubkey": A.upper()}).encode(),
        json.dumps({"pubkey": f" {A}"}).encode(),
        json.dumps({"pubkey": "0" * 64}).encode(),
        json.dumps({"pubkey": "ff" * 32}).encode(),
        json.dumps({"pubkey": encode_npub(A)[:-1] + "q"}).encode(),
        json.dumps({"pubkey": NSEC}).encode(),
        json.dumps({"pubkey": "\ud800"}).encode(),
        json.dumps({"pubkey": "é" * 64}).encode(),
        b'{"pubkey": ' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_keys_change_nothing(admin: AdminClient, body: bytes, tmp_path: Path) -> None:
    """What is no JSON, no object or no key is 400, with a reason that repeats nothing of it."""
    assert admin.add(B) == 201
    for method in ("POST", "DELETE"):
        reply = admin.ask(method, "/admin/allow", body)
        assert reply.status == 400
        assert list(reply.value) == ["error"]
        assert NSEC not in reply.body.decode()
        assert NSEC[5:] not in reply.body.decode()
    assert admin.ask("POST", "/admin/allow/sync", body).status == 400
    assert _file(tmp_path) == [B]


@pytest.mark.parametrize("value", [None, A, {}, {A: 1}, [A, None], [A, NSEC], [A, [B]], [A, A.upper()], [""]])
def test_one_bad_key_among_many_changes_nothing(admin: AdminClient, value: object, tmp_path: Path) -> None:
    """A sync that is not a list of keys leaves all as it was."""
    assert admin.add(B) == 201
    reply = admin.sync(value)
    assert reply.status == 400
    assert NSEC[5:] not in reply.body.decode()
    assert ("at 1:" in reply.value["error"]) == (isinstance(value, list) and len(value) == 2)
    assert _file(tmp_path) == [B]


def test_a_secret_key_is_told_to_be_exposed(admin: AdminClient) -> None:
    """Who pastes an nsec learns what it is, and does not see it again."""
    reply = admin.ask("POST", "/admin/allow", {"pubkey": NSEC})
    assert "take the secret as exposed" in reply.value["error"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        SECRET,
        "Bearer",
        "Bearer ",
        f"Basic {SECRET}",
        f"Bearer {SECRET[:-1]}",
        f"Bearer {SECRET}x",
        f"Bearer {SECRET.upper()}",
        f"Bearer {SECRET} {SECRET}",
        "Bearer é",
    ],
)
def test_a_missing_or_wrong_secret_is_refused(admin: AdminClient, header: str | None, tmp_path: Path) -> None:
    """401 with what is wanted, whatever the path and the body, and nothing happens."""
    admin.secret = None
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("GET", "/admin/allow"), ("POST", "/admin/allow"), ("PUT", "/admin/other")):
        reply = admin.ask(method, path, {"pubkey": A}, headers)
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        assert ("invalid_token" in reply.headers["WWW-Authenticate"]) == (header is not None)
        assert SECRET not in reply.body.decode()
    assert not (tmp_path / "allowlist.json").exists()


def test_the_scheme_is_taken_in_any_case(admin: AdminClient) -> None:
    """`bearer` is `Bearer` (RFC 9110); two Authorization headers are none."""
    admin.secret = None
    assert admin.ask("GET", "/admin/allow", None, {"Authorization": f"bearer  {SECRET}"}).status == 200
    line = f"Authorization: Bearer {SECRET}\r\n"
    assert _raw(admin, f"GET /admin/allow HTTP/1.1\r\nHost: x\r\n{line}{line}\r\n".encode()) == 401


def test_who_guesses_has_to_wait(admin: AdminClient) -> None:
    """After ten wrong secrets within a minute an address is told to come later, with the right one too."""
    admin.secret = "wrong-wrong-wrong"
    assert [admin.ask("GET", "/admin/allow").status for _ in range(12)] == [401] * 10 + [429] * 2
    admin.secret = SECRET
    reply = admin.ask("GET", "/admin/allow")
    assert reply.status == 429
    assert int(reply.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("networks", "proxies", "forwarded", "status"),
    [
        (["192.0.2.0/24"], [], None, 403),
        (["0.0.0.0/0"], [], None, 200),
        (["127.0.0.0/8"], [], "127.0.0.1", 403),
        (["127.0.0.0/8"], [], "", 403),
        (["127.0.0.0/8"], ["127.0.0.0/8"], "192.0.2.1", 403),
        (["127.0.0.0/8"], ["127.0.0.0/8"], "127.0.0.1, 192.0.2.1", 403),
        (["127.0.0.0/8"], ["127.0.0.0/8"], "unknown", 403),
        (["127.0.0.0/8"], ["127.0.0.0/8"], "192.0.2.1:4711", 403),
        (["127.0.0.0/8"], ["127.0.0.0/8"], None, 200),
        (["192.0.2.0/24"], ["127.0.0.0/8"], "192.0.2.1", 200),
        (["192.0.2.0/24"], ["127.0.0.0/8"], "::ffff:192.0.2.1", 200),
        (["192.0.2.0/24"], ["127.0.0.0/8"], "192.0.2.1, 198.51.100.1", 403),
    ],
)
def test_other_addresses_are_refused_first(
    tmp_path: Path, networks: list[str], proxies: list[str], forwarded: str | None, status: int
) -> None:
    """Who comes from elsewhere, or through a proxy unknown to us, learns nothing about the secret."""
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    with admin_api(tmp_path / "allowlist.json", networks=networks, proxies=proxies) as url:
        assert AdminClient(url).ask("GET", "/admin/allow", None, headers).status == status
        wrong = AdminClient(url, "wrong-wrong-wrong").ask("GET", "/admin/allow", None, headers)
        assert wrong.status == (401 if status == 200 else 403)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PUT", "/admin/allow", 405, "GET, POST, DELETE"),
        ("HEAD", "/admin/allow", 405, "GET, POST, DELETE"),
        ("OPTIONS", "/admin/allow", 405, "GET, POST, DELETE"),
        ("GET", "/admin/allow/sync", 405, "POST"),
        ("GET", "/admin", 404, None),
        ("GET", "/admin/", 404, None),
        ("GET", "/admin/allow/", 404, None),
        ("POST", "/admin/deny", 404, None),
    ],
)
def test_other_methods_and_paths(
    admin: AdminClient, method: str, path: str, status: int, allow: str | None
) -> None:
    """405 names the methods there are; nothing is shown to pages of other origins."""
    reply = admin.ask(method, path, None, {"Origin": "https://elsewhere.example"})
    assert (reply.status, reply.headers["Allow"]) == (status, allow)
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def _raw(admin: AdminClient, request: bytes) -> int:
    """Return the status of the answer to what may be half a request."""
    host, port = admin.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        return int(connection.makefile("rb").readline().split()[1])


def test_a_body_too_large_is_refused_before_it_is_read(admin: AdminClient, tmp_path: Path) -> None:
    """413 comes at the announcement of a body over 1 MiB, and in the middle of one in chunks."""
    head = f"POST /admin/allow/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n"
    assert _raw(admin, f"{head}Content-Length: {MAX_BODY + 1}\r\n\r\n".encode()) == 413
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    endless = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 16 + b"1\r\n \r\n"
    assert _raw(admin, endless) == 413
    assert not (tmp_path / "allowlist.json").exists()
    fitting = json.dumps({"pubkeys": [A]}).encode()
    assert admin.ask("POST", "/admin/allow/sync", fitting.ljust(MAX_BODY)).status == 200
    reply = admin.ask("POST", "/admin/allow/sync", fitting.ljust(MAX_BODY + 1))
    assert (reply.status, reply.headers["Connection"]) == (413, "close")


def test_who_has_no_secret_sends_no_body(admin: AdminClient) -> None:
    """A stranger is refused at the head of the request, however large its body is to be."""
    head = "POST /admin/allow/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n"
    assert _raw(admin, f"{head}\r\n".encode()) == 401
    assert _raw(admin, f"{head}X-Forwarded-For: 192.0.2.1\r\n\r\n".encode()) == 403


def test_changes_at_the_same_time_are_all_kept(admin: AdminClient, tmp_path: Path) -> None:
    """What many clients do at once has the result of one after the other."""
    keys = pubkeys(24)

    def work(part: list[str]) -> None:
        for key in part:
            assert admin.add(key) in (200, 201)
            assert admin.remove(key) in (200, 409)
            assert admin.add(key) in (200, 201)

    in_threads(*(lambda part=keys[start::6]: work(part) for start in range(6)))
    assert _file(tmp_path) == keys


def test_a_list_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """507 while there is no room, 500 while the file is broken: nothing changes, and both pass."""
    folder = tmp_path / "list"
    folder.mkdir()
    told: list[str] = []
    with admin_api(folder / "allowlist.json", warn=told.append) as url:
        admin = AdminClient(url)
        assert admin.add(A) == 201
        (folder / "allowlist.json").rename(folder / "aside")
        (folder / "allowlist.json").mkdir()
        assert admin.add(B) == 500
        (folder / "allowlist.json").rmdir()
        (folder / "allowlist.json").write_text("{")
        assert admin.add(B) == admin.remove(A) == admin.sync([B]).status == 500
        (folder / "aside").rename(folder / "allowlist.json")
        assert admin.listed() == [A]
        folder.rename(tmp_path / "moved")
        folder.touch()
        assert admin.add(B) == 507
        assert admin.listed() == [A]
        folder.unlink()
        (tmp_path / "moved").rename(folder)
        assert admin.add(B) == 201
    assert len(told) == 6
    assert all(str(folder) in each for each in told)


def test_a_long_list_is_built_key_by_key(tmp_path: Path) -> None:
    """15 000 keys fit into one sync; a longer list takes more of them one by one."""
    path = tmp_path / "allowlist.json"
    path.write_text(json.dumps({"pubkeys": [f"{number:064x}" for number in range(100_000)]}))
    with server(tmp_path / "home", *_SERVE, "--allowlist", str(path)) as running:
        admin = running.admin
        assert len(admin.listed()) == 100_000
        assert admin.add(A) == 201
        assert admin.remove(A) == 200
        assert admin.add(B) == 201
        assert admin.sync(admin.listed()[:15_000]).value == {"added": 0, "removed": 85_001, "total": 15_000}
        assert admin.sync([A] * 15_650).status == 413
    assert len(json.loads(path.read_bytes())["pubkeys"]) == 15_000


_SERVE = ("allow", "serve", "--listen", "127.0.0.1:0", "--admin-secret-file", "SECRET_FILE")
