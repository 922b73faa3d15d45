"""How long blobs stay: rules, what owners wish, Sunset, the sweep, and databases of before."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from powdo.errors import CannotCreateError
from powdo.servers.blossom import tables
from powdo.servers.blossom.retention import Retention
from powdo.servers.blossom.storage import Folder
from powdo.servers.blossom.tables import NEVER
from powdo.settings.retention import Rule
from tests.blossom_server import ANA, BEN, Blossom, Reply, running, sha, token
from tests.servers.blossom.origin import DATA, Origin, mirror

_DAY = 86400
_OCTETS = "application/octet-stream"


def _sunset(reply: Reply) -> float | None:
    text = reply.headers["Sunset"]
    return None if text is None else parsedate_to_datetime(text).timestamp()


def _head(server: Blossom, data: bytes) -> Reply:
    return server.ask("HEAD", f"/{sha(data)}")


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# --- rules ---


def test_the_first_rule_that_matches_counts() -> None:
    """Type and owner decide; unknown types are matched like others; without a rule there is no end."""
    retention = Retention(
        (
            Rule(pubkeys=frozenset({BEN.pubkey})),
            Rule(type="application/zip", keep=9),
            Rule(type=_OCTETS, keep=5),
            Rule(type="image/*", keep=1),
        )
    )
    table = [
        ("application/zip", BEN.pubkey, NEVER),
        ("application/zip", ANA.pubkey, 9),
        (_OCTETS, ANA.pubkey, 5),
        ("image/png", ANA.pubkey, 1),
        ("text/plain", ANA.pubkey, NEVER),
    ]
    for media_type, pubkey, keep in table:
        assert retention.keep(media_type, pubkey) == keep
    assert retention.expires("image/png", ANA.pubkey, 100, NEVER) == 101
    assert retention.expires("text/plain", ANA.pubkey, 100, NEVER) == NEVER
    assert Retention((Rule(keep=9),)).expires("application/zip", ANA.pubkey, 100, 105) == 105
    assert Retention((Rule(keep=9),)).expires("application/zip", ANA.pubkey, 100, 200) == 109
    assert Retention((Rule(type="application/*", keep=3),)).keep(_OCTETS, ANA.pubkey) == 3


def test_answers_tell_when_a_blob_goes(tmp_path: Path) -> None:
    """Sunset is the upload's time and the rule's; no answer may be kept longer; without end there is none."""
    rules = (Rule(type="application/zip", keep=3 * _DAY), Rule(type=_OCTETS))
    with running(tmp_path, open=True, retention=rules) as server:
        begin = int(time.time())
        server.put(b"a zip")
        server.put(b"octets", Content_Type=_OCTETS)
        server.put(b"unknown", Content_Type=None)
        for method, headers, status in (
            ("GET", {}, 200),
            ("HEAD", {}, 200),
            ("GET", {"Range": "bytes=0-1"}, 206),
            ("GET", {"If_None_Match": "*"}, 304),
        ):
            reply = server.ask(method, f"/{sha(b'a zip')}", **headers)
            assert reply.status == status
            sunset = _sunset(reply)
            assert sunset is not None
            assert begin + 3 * _DAY <= sunset <= time.time() + 3 * _DAY
            scope, age, immutable = reply.headers["Cache-Control"].split(", ")
            assert (scope, immutable) == ("public", "immutable")
            assert 3 * _DAY - 20 <= int(age.removeprefix("max-age=")) <= sunset - begin
        for data in (b"octets", b"unknown"):
            reply = _head(server, data)
            assert _sunset(reply) is None
            assert "max-age=31536000" in reply.headers["Cache-Control"]


# --- what owners wish ---


def test_an_owner_may_choose_a_shorter_time_never_a_longer_one(tmp_path: Path) -> None:
    """X-Expiration counts where it is sooner than the rule."""
    with running(tmp_path, open=True, retention=(Rule(keep=_DAY),)) as server:
        now = int(time.time())
        server.put(b"short", X_Expiration=str(now + 600))
        server.put(b"long", X_Expiration=str(now + 9 * _DAY))
        assert _sunset(_head(server, b"short")) == now + 600
        sunset = _sunset(_head(server, b"long"))
        assert sunset is not None
        assert sunset <= time.time() + _DAY


@pytest.mark.parametrize(
    "text", ["", "x", "1e12", "-5", "+5", " ", "1.5", "0", "99", "0" * 4 + "9" * 9, "9" * 13, "٣"]
)
def test_a_wish_that_is_no_moment_to_come_is_refused(blossom: Blossom, text: str) -> None:
    """Unix seconds in plain digits, in the future; PUT and HEAD say the same, and nothing is kept."""
    data = os.urandom(10)
    told = {"Authorization": token("upload", sha(data)), "X_SHA_256": sha(data)}
    put = blossom.put(data, X_Expiration=text.encode().decode("latin-1"))
    asked = blossom.ask(
        "HEAD", "/upload", X_Content_Length="10", X_Expiration=text.encode().decode("latin-1"), **told
    )
    assert (put.status, asked.status) == (400, 400)
    assert "X-Expiration" in (put.reason or "")
    assert _head(blossom, data).status == 404


def test_a_mirrored_blob_has_the_end_that_was_wished(mirroring: Blossom, origin: Origin) -> None:
    """PUT /mirror takes X-Expiration as an upload does, before it asks the origin."""
    end = int(time.time()) + 600
    assert mirror(mirroring, f"{origin.url}/{sha(DATA)}", X_Expiration="soon").status == 400
    assert origin.requests == []
    assert mirror(mirroring, f"{origin.url}/{sha(DATA)}", X_Expiration=str(end)).status == 201
    assert _sunset(_head(mirroring, DATA)) == end


def test_the_latest_end_wins(tmp_path: Path) -> None:
    """An upload again never shortens; another owner's longer time keeps the blob, until they let it go."""
    now = int(time.time())
    with running(tmp_path, open=True) as server:
        data = b"shared"

        def put(key: object, wish: int | None) -> float | None:
            told = {} if wish is None else {"X_Expiration": str(now + wish)}
            assert server.put(data, key=key, **told).status in (200, 201)  # type: ignore[arg-type]
            sunset = _sunset(_head(server, data))
            return None if sunset is None else sunset - now

        assert put(ANA, 600) == 600
        assert put(ANA, 300) == 600
        assert put(ANA, 900) == 900
        assert put(BEN, 700) == 900
        assert put(BEN, 1200) == 1200
        assert put(BEN, None) is None
        gone = server.ask("DELETE", f"/{sha(data)}", Authorization=token("delete", sha(data), key=BEN))
        assert gone.status == 204
        assert _sunset(_head(server, data)) == now + 900


# --- the end ---


def test_what_is_over_is_gone_before_it_is_swept(tmp_path: Path) -> None:
    """From the second on that Sunset names: 404, not listed, not to be deleted; an upload is a new one."""
    with running(tmp_path, open=True, sweep_interval=3600) as server:
        data = b"over soon"
        end = int(time.time()) + 2
        assert server.put(data, X_Expiration=str(end)).status == 201
        server.put(data, key=BEN, X_Expiration=str(end))
        _wait(lambda: time.time() >= end)
        for method in ("GET", "HEAD"):
            assert server.ask(method, f"/{sha(data)}").status == 404
        header = token("delete", sha(data))
        assert server.ask("DELETE", f"/{sha(data)}", Authorization=header).status == 404
        listed = server.ask("GET", f"/list/{ANA.pubkey}", Authorization=token("list"))
        assert listed.body == b"[]"
        assert [path.name for path in server.files()] == [sha(data)]
        assert server.put(data).status == 201
        assert server.ask("GET", f"/{sha(data)}").body == data
        header = token("delete", sha(data), key=BEN)
        assert server.ask("DELETE", f"/{sha(data)}", Authorization=header).status == 403


def test_the_sweep_removes_rows_and_files_and_says_how_many(tmp_path: Path) -> None:
    """Many batches; what is kept longer by anybody stays; the count is told once."""
    rules = (Rule(pubkeys=frozenset({BEN.pubkey})), Rule(keep=2))
    with running(tmp_path, open=True, retention=rules, sweep_interval=0.2) as server:
        blobs = [os.urandom(100) for _ in range(70)]
        server.put(blobs[0], key=BEN)  # before ana's end comes, however slow the machine is
        assert server.put(blobs[0]).status == 200
        for data in blobs[1:]:
            assert server.put(data).status == 201
        server.put(b"ben's", key=BEN)
        _wait(lambda: len(server.files()) == 2)
        assert server.ask("GET", f"/{sha(blobs[0])}").body == blobs[0]
        assert _head(server, blobs[1]).status == 404
        _wait(lambda: sum(int(line.split()[1]) for line in server.told if "swept" in line) == 69)
        with closing(sqlite3.connect(tmp_path / "blossom.sqlite")) as db:
            _wait(lambda: db.execute("SELECT count(*) FROM owner").fetchone() == (2,))
            assert db.execute("SELECT count(*) FROM blob").fetchone() == (2,)
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_sweep_leaves_what_somebody_holds(tmp_path: Path) -> None:
    """A blob that is being changed goes with a later sweep."""
    with running(tmp_path, open=True, sweep_interval=0.1) as server:
        held, free = b"held", b"free"
        end = str(int(time.time()) + 3)
        for data in (held, free):
            assert server.put(data, X_Expiration=end).status == 201
        folder = Folder(tmp_path)
        with folder.changing(sha(held)):
            _wait(lambda: list(folder.names()) == [sha(held)])
        _wait(lambda: server.files() == [])


def test_a_disk_that_fails_is_told_and_the_sweep_tries_again(tmp_path: Path) -> None:
    """A file that cannot be deleted keeps its note; the server goes on, and says so."""
    with running(tmp_path, open=True, sweep_interval=0.1) as server:
        data = b"cannot go"
        server.put(data, X_Expiration=str(int(time.time()) + 1))
        path = tmp_path / "blobs" / sha(data)[:2] / sha(data)[2:4] / sha(data)
        path.unlink()
        (path / "in the way").mkdir(parents=True)
        _wait(lambda: any("cannot sweep" in line for line in server.warnings))
        assert server.put(b"goes on").status == 201
        (path / "in the way").rmdir()
        path.rmdir()
    with running(tmp_path, open=True) as server:
        assert [file.name for file in server.files()] == [sha(b"goes on")]


# --- other rules, other versions ---


def test_other_rules_hold_for_what_is_kept_already(tmp_path: Path) -> None:
    """A start with other rules sets every end anew, from the upload on; an owner's wish still counts."""
    data, wished = b"a year", b"a minute"
    now = int(time.time())
    with running(tmp_path, open=True, retention=(Rule(keep=_DAY),)) as server:
        assert server.told == []  # there is nothing yet for which they could be others
    with running(tmp_path, open=True) as server:
        server.put(data)
        server.put(wished, X_Expiration=str(now + 60))
        assert _sunset(_head(server, data)) is None
    with running(tmp_path, open=True, retention=(Rule(keep=365 * _DAY),)) as server:
        assert "other rules" in server.told[0]
        sunset = _sunset(_head(server, data))
        assert sunset is not None
        assert now + 365 * _DAY <= sunset <= time.time() + 365 * _DAY
        assert _sunset(_head(server, wished)) == now + 60
    with running(tmp_path, open=True, retention=(Rule(keep=365 * _DAY),)) as server:
        assert server.told == []
    with running(tmp_path, open=True) as server:
        assert _sunset(_head(server, data)) is None


_BEFORE = """
CREATE TABLE blob (
    sha256 BLOB PRIMARY KEY, size INTEGER NOT NULL, type TEXT NOT NULL, uploaded INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE owner (
    pubkey BLOB NOT NULL, sha256 BLOB NOT NULL REFERENCES blob (sha256), uploaded INTEGER NOT NULL,
    PRIMARY KEY (pubkey, sha256)
) WITHOUT ROWID;
CREATE INDEX owner_list ON owner (pubkey, uploaded DESC, sha256);
CREATE INDEX owner_blob ON owner (sha256);
CREATE TABLE spent (token BLOB NOT NULL, sha256 BLOB NOT NULL, expires INTEGER NOT NULL,
PRIMARY KEY (token, sha256)) WITHOUT ROWID;
"""


def test_a_database_of_before_is_brought_up_to_date(tmp_path: Path) -> None:
    """What was kept without an end gets the one that the rules say."""
    data = b"from before"
    now = int(time.time())
    path = tmp_path / "blobs" / sha(data)[:2] / sha(data)[2:4] / sha(data)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with closing(sqlite3.connect(tmp_path / "blossom.sqlite", isolation_level=None)) as db:
        db.executescript(_BEFORE)
        key = bytes.fromhex(sha(data))
        db.execute("INSERT INTO blob VALUES (?, ?, 'application/zip', ?)", (key, len(data), now - 50))
        db.execute("INSERT INTO owner VALUES (?, ?, ?)", (bytes.fromhex(ANA.pubkey), key, now - 50))
    with running(tmp_path, allow=(ANA.pubkey,), retention=(Rule(keep=_DAY),)) as server:
        reply = server.ask("GET", f"/{sha(data)}")
        assert (reply.body, _sunset(reply)) == (data, now - 50 + _DAY)
        header = token("delete", sha(data))
        assert server.ask("DELETE", f"/{sha(data)}", Authorization=header).status == 204


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Nothing is touched."""
    tables.prepare(tmp_path / "blossom.sqlite")
    with closing(sqlite3.connect(tmp_path / "blossom.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(CannotCreateError, match="newer"), running(tmp_path):
        pass
