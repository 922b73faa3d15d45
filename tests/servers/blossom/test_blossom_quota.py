from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.blossom_server import ANA, BEN, Blossom, Reply, begun, running, sha, token

_BOTH = (ANA.pubkey, BEN.pubkey)


def _asked(server: Blossom, data: bytes) -> Reply:
    return server.ask(
        "HEAD",
        "/upload",
        Authorization=token("upload", sha(data)),
        X_SHA_256=sha(data),
        X_Content_Length=str(len(data)),
    )


def _delete(server: Blossom, data: bytes) -> int:
    return server.ask("DELETE", f"/{sha(data)}", Authorization=token("delete", sha(data))).status


def test_a_key_keeps_no_more_bytes_than_its_quota(tmp_path: Path) -> None:
    """What is too much now is 507, with the limit and what is left; what is gone makes room again."""
    first, second, rest = os.urandom(600), os.urandom(500), os.urandom(400)
    with running(tmp_path, allow=_BOTH, quota=1000) as server:
        assert server.put(first).status == 201
        for reply in (server.put(second), _asked(server, second)):
            assert reply.status == 507
            assert reply.reason == "a key may keep 1000 bytes; this one has 400 left"
        assert server.put(second, key=BEN).status == 201
        assert _asked(server, rest).status == 200
        assert server.put(rest).status == 201
        assert server.put(b"x").status == 507
        assert _delete(server, first) == 204
        assert server.put(second).status == 200  # ben's bytes, and ana's too from now on
        assert server.put(os.urandom(101)).status == 507


def test_a_key_keeps_no_more_blobs_than_its_quota(tmp_path: Path) -> None:
    """The number of blobs has a limit of its own."""
    blobs = [os.urandom(10) for _ in range(3)]
    with running(tmp_path, allow=_BOTH, quota_blobs=2) as server:
        assert [server.put(data).status for data in blobs] == [201, 201, 507]
        assert server.put(blobs[2]).reason == "a key may keep 2 blobs; this one has none left"
        assert server.put(blobs[2], key=BEN).status == 201
        assert _delete(server, blobs[0]) == 204
        assert server.put(blobs[2]).status == 200


def test_a_blob_that_never_fits_is_413(tmp_path: Path) -> None:
    """What is larger than a whole quota, or than the server, is not worth another try."""
    with running(tmp_path / "quota", open=True, quota=100) as server:
        assert server.put(bytes(101)).status == _asked(server, bytes(101)).status == 413
    with running(tmp_path / "capacity", open=True, capacity=100) as server:
        assert server.put(bytes(101)).status == _asked(server, bytes(101)).status == 413


def test_what_a_key_has_it_may_send_again(tmp_path: Path) -> None:
    """A full quota does not stand in the way of a blob that adds nothing; its hash is in the token."""
    data = os.urandom(1000)
    with running(tmp_path, allow=_BOTH, quota=1000, capacity=1000) as server:
        assert server.put(data).status == 201
        assert server.put(data).status == 200
        assert server.put(data, X_SHA_256=None).status == 200
        many = token("upload", sha(data), "0" * 64)
        assert server.put(data, Authorization=many).status == 200
        assert server.put(data, Authorization=many, X_SHA_256=None).status == 507  # it could be any


def test_the_server_keeps_each_blob_once(tmp_path: Path) -> None:
    """In all, a blob counts once however many own it, and until the last of them lets it go."""
    data = os.urandom(800)
    with running(tmp_path, allow=_BOTH, capacity=1000) as server:
        assert server.put(data).status == 201
        assert server.put(data, key=BEN).status == 200
        reply = server.put(os.urandom(201), key=BEN)
        assert (reply.status, reply.reason) == (507, "the server is full: it keeps 1000 bytes in all")
        assert _delete(server, data) == 204
        assert server.put(os.urandom(201)).status == 507
        assert server.put(os.urandom(200)).status == 201


def test_a_body_that_finds_no_room_is_not_waited_for(tmp_path: Path) -> None:
    """The refusal comes after the headers, and a client that asks is not told to go on."""
    data = os.urandom(500)
    with running(tmp_path, open=True, quota=400, capacity=300) as server:
        for expect in ("", "Expect: 100-continue\r\n"):
            with begun(server, data, 0, more=expect) as peer:
                assert peer.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_uploads_at_once_cannot_pass_the_quota_together(tmp_path: Path) -> None:
    """An upload under way counts in full from its headers on, until it ends in whatever way."""
    one, other = os.urandom(60_000), os.urandom(60_000)
    with running(tmp_path, open=True, quota=100_000) as server:
        with begun(server, one, 1000):
            assert _asked(server, other).status == 507
            assert server.put(other).reason == "a key may keep 100000 bytes; this one has 40000 left"
            assert server.put(other, key=BEN).status == 201
        assert server.eventually(lambda: _asked(server, other).status == 200)
        with begun(server, one, 1000) as peer:
            peer.sendall(one[1000:])
            assert peer.recv(4096).startswith(b"HTTP/1.1 201 ")
            assert server.put(other).status == 507
        assert server.put(b"x" * 40_000).status == 201


def test_many_at_once_fill_a_quota_and_no_more(tmp_path: Path) -> None:
    """Of many uploads at the same moment no more come in than fit."""
    statuses: list[int] = []
    with running(tmp_path, open=True, quota=250_000) as server:

        def send() -> None:
            statuses.append(server.put(os.urandom(50_000)).status)

        threads = [threading.Thread(target=send) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while (status := server.put(os.urandom(50_000)).status) == 201:
            statuses.append(status)
    assert set(statuses) == {201, 507}
    assert statuses.count(201) == 5


def test_a_blob_deleted_while_it_comes_again_finds_room_or_none(tmp_path: Path) -> None:
    """What counted for nothing when it began counts in full when it ends as something new."""
    data, other = os.urandom(60_000), os.urandom(60_000)
    with running(tmp_path, open=True, quota=100_000) as server:
        assert server.put(data).status == 201
        with begun(server, data, 1000) as peer:
            assert _delete(server, data) == 204
            assert server.put(other).status == 201
            peer.sendall(data[1000:])
            assert peer.recv(4096).startswith(b"HTTP/1.1 507 ")
        assert server.ask("GET", f"/{sha(data)}").status == 404
        assert server.put(bytes(40_000)).status == 201


def test_some_of_the_disk_stays_free(tmp_path: Path) -> None:
    """Below the least free space nothing is taken; an upload under way has its bytes set aside."""
    free = shutil.disk_usage(tmp_path).free
    with running(tmp_path / "full", open=True, min_free=free * 2) as server:
        for reply in (server.put(b"a"), _asked(server, b"a")):
            assert reply.status == 507
            assert reply.reason == f"the disk is full: {free * 2} bytes of it stay free"
        assert server.files() == []
    # other programs use the disk meanwhile: a gigabyte is more than they take
    with running(tmp_path / "room", open=True, min_free=max(0, free - (3 << 30)), max_size=2 << 30) as server:
        with begun(server, b"", 0, length=2 << 30):
            assert server.eventually(lambda: _sent_headers_of_two_gigabytes(server) == 507)
        assert server.put(b"a").status == 201


def _sent_headers_of_two_gigabytes(server: Blossom) -> int:
    return server.ask(
        "HEAD",
        "/upload",
        Authorization=token("upload", "0" * 64),
        X_SHA_256="0" * 64,
        X_Content_Length=str(2 << 30),
    ).status


def test_sums_survive_a_restart_and_are_made_for_older_tables(tmp_path: Path) -> None:
    """What was kept before counts, also where it was kept by a server that did not count yet."""
    with running(tmp_path, allow=_BOTH, quota=1000) as server:
        assert server.put(bytes(700)).status == 201
    with running(tmp_path, allow=_BOTH, quota=1000) as server:
        assert server.put(os.urandom(400)).status == 507
    with closing(sqlite3.connect(tmp_path / "blossom.sqlite")) as db:
        for trigger in ("blob_added", "blob_gone", "owner_added", "owner_gone"):
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("DROP TABLE usage")
        db.execute("DROP TABLE removed")
        db.execute("DROP INDEX spent_expires")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    with running(tmp_path, allow=_BOTH, quota=1000, capacity=1000) as server:
        assert server.put(os.urandom(400)).reason == "a key may keep 1000 bytes; this one has 300 left"
        assert server.put(os.urandom(400), key=BEN).reason == "the server is full: it keeps 1000 bytes in all"
        assert server.put(os.urandom(300)).status == 201


@pytest.mark.parametrize("size", [0, 999, 1000])
def test_the_last_byte_of_a_quota_can_be_used(tmp_path: Path, size: int) -> None:
    """A quota is what may be kept, not what must be more."""
    with running(tmp_path, open=True, quota=1000, capacity=1000) as server:
        if size:
            assert server.put(os.urandom(size)).status == 201
        if size < 1000:
            assert server.put(os.urandom(1000 - size)).status == 201
        assert server.put(b"x").status == 507
