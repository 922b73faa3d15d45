"""`powdo blossom prune`, `fsck`, `list` and `stat`, beside a running server and without one."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from powdo.nips.bech32 import encode_npub
from powdo.servers.blossom.storage import Folder
from powdo.settings.retention import Rule
from tests.blossom_server import ANA, BEN, running, sha
from tests.conftest import Powdo
from tests.servers.blossom.storage_contract import keep

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def blossom(powdo: Powdo, tmp_path: Path) -> Run:
    """Return a runner of `powdo blossom … --data DIR`."""

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return powdo("blossom", words[0], "--data", str(tmp_path), *words[1:])

    return run


def _lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def _path(folder: Path, sha256: str) -> Path:
    return folder / "blobs" / sha256[:2] / sha256[2:4] / sha256


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("words", [("prune",), ("fsck",), ("list",), ("stat",)])
def test_a_folder_without_blobs_is_told(powdo: Powdo, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Nothing is made there; without a folder at all it is asked for."""
    done = powdo("blossom", *words, "--data", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (66, b"")
    assert b"no Blossom server has kept blobs in" in done.stderr
    assert not (tmp_path / "none").exists()
    done = powdo("blossom", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--data DIR" in done.stderr


def test_a_database_of_another_version_is_left_to_its_server(blossom: Run, tmp_path: Path) -> None:
    """75: a later run, after the server has brought it up to date, does it."""
    with closing(sqlite3.connect(tmp_path / "blossom.sqlite")) as db:
        db.execute("CREATE TABLE blob (sha256 BLOB PRIMARY KEY)")
    for command in ("prune", "fsck", "list", "stat"):
        done = blossom(command)
        assert (done.returncode, done.stdout) == (75, b"")
        assert b"another version" in done.stderr


# --- list and stat ---


def test_the_operator_sees_what_there_is(blossom: Run, tmp_path: Path) -> None:
    """Blobs with their owners and ends, and sums in all, by type and by owner; beside the running server."""
    with running(tmp_path, open=True, retention=(Rule(type="application/zip", keep=600),)) as server:
        server.put(b"shared")
        server.put(b"shared", key=BEN)
        server.put(b"ben's", key=BEN, Content_Type="application/octet-stream")
        # of one second: in the order of their hashes
        listed = sorted(_lines(blossom("list", "--json")), key=lambda item: -item["size"])
        bens = _lines(blossom("list", "--json", "--pubkey", encode_npub(BEN.pubkey)))
        anas = _lines(blossom("list", "--json", "--pubkey", ANA.pubkey))
        table = blossom("list").stdout.decode()
        sums = _lines(blossom("stat", "--json"))
        assert blossom("stat").stdout.startswith(b"what")
    first = listed[0]
    assert [item["sha256"] for item in listed] == [sha(b"shared"), sha(b"ben's")]
    assert sorted(bens, key=lambda item: -item["size"]) == listed
    assert anas == [first]
    assert sorted(first["owners"]) == sorted([encode_npub(ANA.pubkey), encode_npub(BEN.pubkey)])
    assert (first["size"], first["type"]) == (6, "application/zip")
    assert first["uploaded"] < first["expires"]
    assert listed[1]["expires"] is None
    assert table.splitlines()[0].split() == ["sha256", "size", "type", "uploaded", "expires", "owners"]
    assert f"{encode_npub(ANA.pubkey)}, {encode_npub(BEN.pubkey)}" in table
    counted = {(item["what"], item["name"]): (item["blobs"], item["bytes"]) for item in sums}
    free = counted.pop(("free", str(tmp_path)))
    assert counted == {
        ("all", None): (2, 11),
        ("type", "application/zip"): (1, 6),
        ("type", "application/octet-stream"): (1, 5),
        ("owner", encode_npub(BEN.pubkey)): (2, 11),
        ("owner", encode_npub(ANA.pubkey)): (1, 6),
    }
    assert free[1] > 0
    assert sums[0]["oldest"] == first["uploaded"]
    assert sums[0]["expires"] == first["expires"]


def test_a_pubkey_that_is_none_is_refused(blossom: Run, tmp_path: Path) -> None:
    """2, with the flag's name."""
    with running(tmp_path, open=True):
        done = blossom("list", "--pubkey", "npub1x")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--pubkey" in done.stderr


def test_nothing_kept_is_nothing_listed(blossom: Run, tmp_path: Path) -> None:
    """No rows, no header, status 0; the sums are zero."""
    with running(tmp_path, open=True):
        pass
    assert (blossom("list").stdout, blossom("list", "--json").stdout) == (b"", b"")
    total = _lines(blossom("stat", "--json"))[0]
    assert (total["blobs"], total["bytes"], total["oldest"], total["expires"]) == (0, 0, None, None)


# --- prune ---


@pytest.mark.parametrize("alive", [True, False])
def test_prune_removes_what_is_over(blossom: Run, tmp_path: Path, alive: bool) -> None:
    """Beside the server or without one: -n tells and changes nothing, then rows and files go, once."""
    over, kept = [os.urandom(50) for _ in range(40)], os.urandom(50)

    def fill(server: Any) -> None:
        end = str(int(time.time()) + 2)
        for data in over:
            assert server.put(data, X_Expiration=end).status == 201
        server.put(kept)
        while time.time() < int(end):
            time.sleep(0.05)

    def look() -> None:
        told = blossom("prune", "-n", "--json")
        assert sorted(item["sha256"] for item in _lines(told)) == sorted(map(sha, over))
        assert b"sha256" in blossom("prune", "-n").stdout
        assert len(list(Folder(tmp_path).names())) == 41
        done = blossom("prune", "--json", "-v")
        assert (done.returncode, sorted(item["sha256"] for item in _lines(done))) == (
            0,
            sorted(map(sha, over)),
        )
        assert done.stderr == b"powdo blossom prune: removed 40 blobs of 2000 bytes\n"
        assert list(Folder(tmp_path).names()) == [sha(kept)]
        again = blossom("prune", "-v")
        assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"")

    with running(tmp_path, open=True, sweep_interval=3600) as server:
        fill(server)
        if alive:
            look()
            assert server.put(over[0]).status == 201
            assert server.ask("GET", f"/{sha(kept)}").body == kept
            assert server.ask("GET", f"/{sha(over[0])}").body == over[0]
    if not alive:
        look()
    assert blossom("fsck").returncode == 0


def test_prune_is_silent(blossom: Run, tmp_path: Path) -> None:
    """What a timer runs says nothing when all went well."""
    with running(tmp_path, open=True, sweep_interval=3600) as server:
        server.put(b"x", X_Expiration=str(int(time.time()) + 1))
        time.sleep(1.1)
    done = blossom("prune")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert list(Folder(tmp_path).names()) == []


def test_a_disk_that_fails_is_74(blossom: Run, tmp_path: Path) -> None:
    """What could not be deleted is told."""
    with running(tmp_path, open=True, sweep_interval=3600) as server:
        server.put(b"x", X_Expiration=str(int(time.time()) + 1))
        time.sleep(1.1)
    path = _path(tmp_path, sha(b"x"))
    path.unlink()
    path.mkdir()
    done = blossom("prune")
    assert (done.returncode, done.stdout) == (74, b"")
    assert b"cannot prune" in done.stderr


# --- fsck ---


def _damage(folder: Path) -> dict[str, str]:
    """Do all that can go wrong to a folder with the blobs 0 to 5; return which problem each has now."""
    names = [sha(bytes([number])) for number in range(6)]
    _path(folder, names[0]).unlink()
    _path(folder, names[1]).write_bytes(b"x")
    _path(folder, names[2]).write_bytes(b"longer than it was")
    _path(folder, names[3]).write_bytes(b"")
    with closing(sqlite3.connect(folder / "blossom.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE blob SET size = 7 WHERE sha256 = ?", (bytes.fromhex(names[4]),))
    unknown = keep(Folder(folder), b"nobody's")
    (folder / "incoming" / "tmpcutoff").write_bytes(b"half")
    damaged = dict.fromkeys(names[1:4], "damaged")
    return {names[0]: "missing", names[4]: "size", unknown: "unknown", **damaged}


def test_fsck_finds_and_repairs_all_that_is_wrong(blossom: Run, tmp_path: Path) -> None:
    """76 until it is repaired; nothing is lost: damaged files and those without a row are put aside."""
    with running(tmp_path, open=True) as server:
        for number in range(6):
            server.put(bytes([number]))
    assert (blossom("fsck").returncode, blossom("fsck").stdout) == (0, b"")
    wrong = _damage(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    done = blossom("fsck", "--json")
    assert done.returncode == 76
    found = _lines(done)
    assert {item["sha256"]: item["problem"] for item in found} == {**wrong, None: "stray"}
    assert not any(item["repaired"] for item in found)
    assert b"has 7 problems" in done.stderr
    assert b"hint: --repair" in done.stderr
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    done = blossom("fsck", "--repair", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert {item["sha256"]: (item["problem"], item["repaired"]) for item in _lines(done)} == {
        sha256: (problem, True) for sha256, problem in [*wrong.items(), (None, "stray")]
    }
    assert _names(tmp_path / "damaged") == sorted(
        sha256 for sha256, problem in wrong.items() if problem in ("damaged", "unknown")
    )
    assert _names(tmp_path / "incoming") == []
    assert (blossom("fsck").returncode, blossom("fsck").stdout) == (0, b"")
    assert sorted(item["size"] for item in _lines(blossom("list", "--json"))) == [1, 1]
    assert _lines(blossom("stat", "--json"))[0]["bytes"] == 2
    with running(tmp_path, open=True) as server:
        assert server.put(bytes([1])).status == 201
        assert server.put(bytes([4])).status == 200


def test_fsck_repairs_beside_the_running_server(blossom: Run, tmp_path: Path) -> None:
    """Uploads go on, and what is being received is no stray; a table tells people what was wrong."""
    with running(tmp_path, open=True) as server:
        server.put(b"lost")
        server.put(b"whole")
        _path(tmp_path, sha(b"lost")).unlink()
        (tmp_path / "incoming" / "tmpunderway").write_bytes(b"half")
        done = blossom("fsck", "--repair")
        assert done.returncode == 0
        assert done.stdout.splitlines()[0].split() == [b"problem", b"sha256", b"detail", b"repaired"]
        assert b"missing" in done.stdout
        assert b"tmpunderway" not in done.stdout
        assert server.ask("HEAD", f"/{sha(b'lost')}").status == 404
        assert server.put(b"lost").status == 201
        assert blossom("fsck").returncode == 0


def test_fsck_leaves_what_somebody_changes(blossom: Run, tmp_path: Path) -> None:
    """A blob between its file and its row is neither wrong nor touched."""
    with running(tmp_path, open=True):
        folder = Folder(tmp_path)
        with folder.changing(sha(b"new")):
            keep(folder, b"new")
            assert (blossom("fsck", "--repair").returncode, folder.size(sha(b"new"))) == (0, 3)
        assert blossom("fsck").returncode == 76


def test_fsck_tells_a_file_that_cannot_be_read(blossom: Run, tmp_path: Path) -> None:
    """It is left where it is: the fault may be the reader's."""
    with running(tmp_path, open=True) as server:
        server.put(b"x")
    path = _path(tmp_path, sha(b"x"))
    path.unlink()
    path.mkdir()
    done = blossom("fsck", "--repair", "--json")
    assert done.returncode == 76
    (finding,) = _lines(done)
    assert (finding["problem"], finding["repaired"]) == ("unreadable", False)
    assert path.exists()


def test_fsck_tells_a_damaged_database(blossom: Run, tmp_path: Path) -> None:
    """An owner of no blob, and pages that are no pages."""
    with running(tmp_path, open=True) as server:
        server.put(b"x")
    with closing(sqlite3.connect(tmp_path / "blossom.sqlite", isolation_level=None)) as db:
        db.execute(
            "INSERT INTO owner (pubkey, sha256, uploaded) VALUES (?, ?, 1)",
            (bytes(32), bytes.fromhex(sha(b"y"))),
        )
    done = blossom("fsck", "--json", "--repair")
    assert done.returncode == 76
    assert [(item["problem"], item["repaired"]) for item in _lines(done)] == [("database", False)]
    (tmp_path / "blossom.sqlite").write_bytes(b"no database at all" * 1000)
    done = blossom("fsck")
    assert done.returncode in (73, 74)
    assert b"Traceback" not in done.stderr
