from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from powdo.servers.allowlist import Allowlist
from powdo.servers.blossom import removals
from tests.blossom_server import ANA, BEN, Blossom, running, sha, token

_WEEK = 7 * 86400


def _list(data: Path, *pubkeys: str) -> None:
    Allowlist(data / "allowlist.json").replace(pubkeys)


def _listed(server: Blossom) -> list[str] | int:
    """Return what ana is told that she owns, or the status."""
    reply = server.ask("GET", f"/list/{ANA.pubkey}", Authorization=token("list"))
    return [each["sha256"] for each in json.loads(reply.body)] if reply.status == 200 else reply.status


def _delete(server: Blossom, data: bytes) -> int:
    return server.ask("DELETE", f"/{sha(data)}", Authorization=token("delete", sha(data))).status


def _noted(data: Path) -> int | None:
    """Return since when ana is noted as removed."""
    with closing(sqlite3.connect(data / "blossom.sqlite", timeout=10)) as db:
        row = db.execute(
            "SELECT since FROM removed WHERE pubkey = ?", (bytes.fromhex(ANA.pubkey),)
        ).fetchone()
    return None if row is None else int(row[0])


def _age(data: Path, seconds: int) -> None:
    """Let the removal have been noted so many seconds earlier."""
    with closing(sqlite3.connect(data / "blossom.sqlite", timeout=10)) as db, db:
        assert db.execute("UPDATE removed SET since = since - ?", (seconds,)).rowcount == 1


def _removed(data: Path) -> list[bytes]:
    """Let ana keep three blobs, then take her off the list; return the blobs."""
    blobs = [os.urandom(50) for _ in range(3)]
    _list(data, ANA.pubkey, BEN.pubkey)
    with running(data) as server:
        assert [server.put(blob).status for blob in blobs] == [201] * 3
    _list(data, BEN.pubkey)
    return blobs


def test_a_removed_key_uploads_no_more_and_tidies_at_once(tmp_path: Path) -> None:
    """Within a second of the list's change; without waiting for anybody to have noted it."""
    data = os.urandom(50)
    _list(tmp_path, ANA.pubkey)
    with running(tmp_path) as server:
        assert server.put(data).status == 201
        _list(tmp_path, BEN.pubkey)
        time.sleep(0.6)
        for status in (
            server.put(b"more").status,
            server.put(data).status,
            server.ask("HEAD", "/upload", Authorization=token("upload", sha(data))).status,
        ):
            assert status == 403
        assert _noted(tmp_path) is None
        assert _listed(server) == [sha(data)]
        assert _delete(server, data) == 204
        assert _listed(server) == 403  # there is nothing of hers any more


def test_a_removed_key_has_a_week_to_tidy(tmp_path: Path) -> None:
    """It counts from when the server noted the removal; afterwards its tokens are refused."""
    blobs = _removed(tmp_path)
    begin = int(time.time())
    with running(tmp_path) as server:
        assert server.eventually(lambda: _noted(tmp_path) is not None)
        assert begin <= (_noted(tmp_path) or 0) <= time.time()
        _age(tmp_path, _WEEK - 60)
        listed = _listed(server)
        assert isinstance(listed, list)
        assert sorted(listed) == sorted(map(sha, blobs))
        assert _delete(server, blobs[0]) == 204
        _age(tmp_path, 61)
        assert _listed(server) == 403
        assert _delete(server, blobs[1]) == 403
        reply = server.ask("DELETE", f"/{sha(blobs[1])}", Authorization=token("delete", sha(blobs[1])))
        assert reply.reason == "this key is not on the allowlist, or has not been for a week"
        assert server.ask("GET", f"/{sha(blobs[1])}").body == blobs[1]


def test_the_week_does_not_begin_again(tmp_path: Path) -> None:
    """Neither by asking nor by a restart; only by being on the list again in between."""
    blobs = _removed(tmp_path)
    with running(tmp_path) as server:
        assert server.eventually(lambda: _noted(tmp_path) is not None)
        _age(tmp_path, _WEEK + 1)
        noted = _noted(tmp_path)
        for _ in range(3):
            assert _delete(server, blobs[0]) == _listed(server) == server.put(b"x").status == 403
    with running(tmp_path) as server:
        assert _delete(server, blobs[0]) == 403
        assert _noted(tmp_path) == noted
    _list(tmp_path, ANA.pubkey)
    with running(tmp_path) as server:
        assert server.eventually(lambda: _noted(tmp_path) is None)
        assert server.put(b"welcome back").status == 201
    _list(tmp_path, BEN.pubkey)
    with running(tmp_path) as server:
        assert server.eventually(lambda: (_noted(tmp_path) or 0) > (noted or 0) + _WEEK)
        assert _delete(server, blobs[0]) == 204


def test_removals_are_noted_while_the_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is looked at now and again, whether the key asks for anything or not."""
    monkeypatch.setattr(removals, "_LOOK_AGAIN", 0.05)
    _list(tmp_path, ANA.pubkey)
    with running(tmp_path) as server:
        assert server.put(b"a").status == 201
        _list(tmp_path)
        assert server.eventually(lambda: _noted(tmp_path) is not None)
        _list(tmp_path, ANA.pubkey)
        assert server.eventually(lambda: _noted(tmp_path) is None)
        _list(tmp_path)
        assert server.eventually(lambda: _noted(tmp_path) is not None)
        assert _delete(server, b"a") == 204
        assert server.eventually(lambda: _noted(tmp_path) is None)


def test_a_stranger_has_nothing_to_tidy(tmp_path: Path) -> None:
    """Who owns nothing here and is not on the list is refused, whatever the token."""
    with running(tmp_path, allow=(BEN.pubkey,)) as server:
        assert server.put(b"ben's", key=BEN).status == 201
        assert _delete(server, b"ben's") == 403
        assert _delete(server, b"nobody's") == 403
        assert _listed(server) == 403


def test_an_open_server_removes_nobody(tmp_path: Path) -> None:
    """Where everybody may upload, a list that does not name an owner means nothing."""
    blobs = _removed(tmp_path)
    with running(tmp_path) as server:
        assert server.eventually(lambda: _noted(tmp_path) is not None)
        _age(tmp_path, _WEEK + 1)
    with running(tmp_path, open=True) as server:
        assert server.eventually(lambda: _noted(tmp_path) is None)
        assert server.put(b"more").status == 201
        assert _delete(server, blobs[0]) == 204
