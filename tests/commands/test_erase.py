from __future__ import annotations

import json
from pathlib import Path

import pytest

from powdo.adapters.evidence import Remover
from powdo.commands.ingest import ingest
from powdo.commands.users import users
from powdo.commands.verify import verify
from powdo.errors import OutputError, UsageError
from powdo.nips.bech32 import encode_npub
from powdo.records import encode_line
from powdo.worktime.intervals import SECOND
from tests.dvm import ANA, BEN, gift
from tests.evidence_room import FIRST, Room, any_room, room, server, template
from tests.postgresql import postgresql

__all__ = ["any_room", "postgresql", "room", "server", "template"]


def remove(*flags: str) -> int:
    """Return the status of `powdo users remove ana` with *flags*."""
    status: int = users.main(["remove", "ana", *flags], standalone_mode=False).console.status
    return status


def stored(any_room: Room) -> bytes:
    """Return all bytes of the database's files."""
    return b"".join(path.read_bytes() for path in (any_room.dvm.folder / "state").glob("dvm.sqlite*"))


def test_everything_of_a_worker_is_erased(any_room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    """Rows and files of the worker are gone, from the database's own files too; nobody else's are."""
    title = json.loads(any_room.sent.samples[3].files["buckets/0.jsonl"].splitlines()[0])["data"]["title"]
    if any_room.dvm.database is None:
        assert title.encode() in stored(any_room)
    store = any_room.dvm.store()
    store.enroll("ben", pubkeys=[BEN.pubkey])
    store.close()
    capfd.readouterr()
    assert remove("--erase", "--yes") == 0
    said = capfd.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "no relay was told to let 'ana' in no longer" in said.err
    assert any_room.dvm.evidence() == []
    for secret in (title, ANA.pubkey, any_room.sent.parcels[3].message.decryption_key, "ana"):
        assert secret.encode() not in stored(any_room)
    store = any_room.dvm.store()
    assert [worker.name for worker in store.workers()] == ["ben"]
    store.close()
    with pytest.raises(UsageError, match="no worker is called 'ana'"):
        remove("--erase", "--yes")


def test_what_was_erased_does_not_come_back(
    any_room: Room, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wraps of what was erased are skipped, of the stranger and of the worker enrolled again."""
    remove("--erase", "--yes")
    file = tmp_path / "again.jsonl"
    for enrolled in (False, True):
        if enrolled:
            users.main(["add", encode_npub(ANA.pubkey), "--name", "ana"], standalone_mode=False)
        rumors = [
            sent.message.to_rumor(ANA.pubkey, FIRST // SECOND) for sent in any_room.sent.parcels.values()
        ]
        file.write_bytes(b"".join(encode_line(gift(rumor)) for rumor in rumors))
        capfd.readouterr()
        assert ingest.main([str(file)], standalone_mode=False).console.status == 0
        assert capfd.readouterr() == ("", "")
    assert any_room.dvm.evidence() == []
    with any_room.database() as connection:
        outcomes = dict(
            connection.exec_driver_sql("SELECT outcome, count(*) FROM inbox GROUP BY 1").all()  # type: ignore[arg-type]  # rows are pairs
        )
    assert outcomes == {"ingested": 3, "stranger": 3, "erased": 3}


def test_a_look_first(any_room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    """-n tells what would be erased, and nothing is."""
    before = any_room.dvm.evidence()
    capfd.readouterr()
    assert remove("--erase", "-n") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["erased"] == {"bundles": 3, "screenshots": 3, "timesheets": 0}
    assert any_room.dvm.evidence() == before
    assert verify.main([], standalone_mode=False).console.status == 0


def test_nobody_erases_by_accident(any_room: Room) -> None:
    """Without a terminal to ask on it takes --yes, which means nothing else."""
    with pytest.raises(UsageError, match="nobody can be asked"):
        remove("--erase")
    with pytest.raises(UsageError, match="--yes belongs to --erase"):
        remove("--yes")
    assert len(any_room.dvm.evidence()) == 6


def test_erasing_goes_on_where_it_was_stopped(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before files go, the worker is still named, nothing new is taken, and a second run ends it."""

    def stopped(self: Remover, names: object) -> dict[str, int]:
        raise OutputError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "remove", stopped)
        with pytest.raises(OutputError):
            remove("--erase", "--yes")
    store = any_room.dvm.store()
    (worker,) = store.workers()
    assert worker.disabled
    store.close()
    assert remove("--erase", "--yes") == 0
    assert any_room.dvm.evidence() == []
    with any_room.database() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM worker").scalar() == 0
