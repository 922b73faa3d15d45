from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from powdo.commands.ingest import ingest
from powdo.commands.verify import verify
from powdo.errors import InputMissingError, UsageError
from powdo.nips.event import Unsigned, sign
from powdo.records import encode_line
from powdo.worktime.link import proof_to_bytes
from tests.bundles import sample
from tests.dvm import BEN, NOW, BlobServer, JsonEvent, link_of, parcel
from tests.evidence_room import (
    FIRST,
    PICTURE,
    Looked,
    Room,
    flip,
    flipped,
    room,
    server,
    signed,
    take_in,
    template,
)

__all__ = ["room", "server", "template"]

Look = Callable[..., Looked]


@pytest.fixture
def look(room: Room, capfd: pytest.CaptureFixture[str]) -> Look:
    """Return a function that runs `powdo verify --json` in this process."""

    def run(*flags: str) -> Looked:
        capfd.readouterr()
        done = verify.main(["--json", *flags], standalone_mode=False)
        return Looked(done.console.status, *capfd.readouterr())

    return run


def test_sound_evidence_passes(room: Room, look: Look) -> None:
    """What was taken in and not touched passes each check, and its chain is whole."""
    found = look()
    assert (found.status, found.err) == (0, "")
    assert list(found.bundles) == [1, 3, 4]
    assert all(one["ok"] and not one["absent"] for one in found.bundles.values())
    (chain,) = found.chains
    assert (chain["first"], chain["last"], chain["bundles"], chain["withheld"]) == (1, 4, 3, 1)
    assert chain["ok"] and chain["missing"] == []


def test_the_table_says_the_same(room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a row for each bundle and one for each chain."""
    room.blob(3).unlink()
    capfd.readouterr()
    done = verify.main([], standalone_mode=False)
    out, err = capfd.readouterr()
    assert done.console.status == 76
    assert out.count(" ok") == 3
    assert "FAILED: blob" in out
    assert "blob: cannot open" in err


# --- tampering: one thing at a time, and the check that names it -----------------------------------


def _json(room: Room, column: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(getattr(room.row(3), column))
    return event


def _resigned(room: Room) -> None:
    """Let somebody else sign the link."""
    room.put(3, link_event=json.dumps(signed(room.sent.links[3], BEN), separators=(",", ":")))


def _another_rumor(room: Room) -> None:
    """Put a well-formed rumor with another key in the place of the one that was sealed."""
    rumor = Unsigned.parse(room.row(3).rumor_event)
    tags = tuple(("decryption-key", "ab" * 32) if tag[0] == "decryption-key" else tag for tag in rumor.tags)
    other = rumor._replace(tags=tags)
    room.put(3, rumor=other.id, rumor_event=other.to_bytes().decode())


def _another_blob(room: Room) -> None:
    """Put another sound bundle in the place of the blob, and its hash in the row."""
    other = room.sent.parcels[4].message.x
    room.sql("UPDATE bundle SET sha256 = 'ff' || substr(sha256, 3) WHERE sequence = 4")
    room.put(3, sha256=other)


def _signed_by_ben(content: str) -> JsonEvent:
    unsigned = Unsigned(BEN.pubkey, NOW, 78, (), content)
    return sign(unsigned, BEN, secrets.token_bytes(32)).to_json()


def _manifest(room: Room) -> None:
    room.put(3, manifest=room.row(3).manifest.replace('"events":1', '"events":3'))


TAMPERING: dict[str, tuple[Callable[[Room], None], set[str]]] = {
    "wrap: signature": (
        lambda room: room.event(3, "wrap_event", sig=flipped(_json(room, "wrap_event")["sig"])),
        {"wrap"},
    ),
    "wrap: content": (lambda room: room.event(3, "wrap_event", content="x"), {"wrap"}),
    "wrap: no JSON": (lambda room: room.put(3, wrap_event="{"), {"wrap"}),
    "wrap: another's": (lambda room: room.put(3, wrap_event=room.row(4).wrap_event), {"wrap"}),
    "wrap: id": (lambda room: room.put(3, wrap="0" * 64), {"wrap"}),
    "seal: signature": (
        lambda room: room.event(3, "seal_event", sig=flipped(_json(room, "seal_event")["sig"])),
        {"seal"},
    ),
    "seal: date": (lambda room: room.event(3, "seal_event", created_at=1), {"seal"}),
    "seal: another's": (lambda room: room.put(3, seal_event=room.row(4).seal_event), {"seal"}),
    "rumor: content": (lambda room: room.event(3, "rumor_event", content="https://x"), {"rumor"}),
    "rumor: another's": (lambda room: room.put(3, rumor_event=room.row(4).rumor_event), {"rumor"}),
    "rumor: replaced": (_another_rumor, {"rumor"}),
    "author": (lambda room: room.put(3, pubkey=BEN.pubkey), {"seal", "rumor", "author", "link"}),
    "author: not enrolled": (lambda room: room.sql("DELETE FROM worker_key"), {"author"}),
    "link: signature": (
        lambda room: room.event(3, "link_event", sig=flipped(_json(room, "link_event")["sig"])),
        {"link"},
    ),
    "link: signed by another": (_resigned, {"link"}),
    "link: signature taken away": (lambda room: room.put(3, link_event=None), {"link"}),
    "link: another's": (lambda room: room.put(3, link=room.row(4).link), {"link", "manifest", "row"}),
    "link: no link": (lambda room: room.put(3, link="{}"), {"link"}),
    "manifest": (_manifest, {"manifest", "row"}),
    "manifest: no JSON": (lambda room: room.put(3, manifest="{"), {"manifest"}),
    "blob: a bit": (lambda room: flip(room.blob(3)), {"blob"}),
    "blob: its end": (lambda room: room.blob(3).write_bytes(room.blob(3).read_bytes()[:-1]), {"blob"}),
    "blob: gone": (lambda room: room.blob(3).unlink(), {"blob"}),
    "blob: another's": (_another_blob, {"row", "receipt"}),
    "screenshot: a bit": (lambda room: flip(room.file(_picture(3))), {"screenshots"}),
    "screenshot: gone": (lambda room: room.file(_picture(3)).unlink(), {"screenshots"}),
    "screenshot: row gone": (
        lambda room: room.sql("DELETE FROM screenshot WHERE bundle_id = 2"),
        {"row"},
    ),
    "screenshot: row": (
        lambda room: room.sql("UPDATE screenshot SET time_us = 1 WHERE bundle_id = 2"),
        {"row"},
    ),
    "row: begin": (lambda room: room.put(3, begin_us=room.row(3).begin_us - 1), {"row"}),
    "row: end": (lambda room: room.put(3, end_us=room.row(3).end_us + 1), {"row"}),
    "row: timezone": (lambda room: room.put(3, timezone="UTC"), {"row"}),
    "row: ox": (lambda room: room.put(3, ox="0" * 64), {"row"}),
    "row: size": (lambda room: room.put(3, size=1), {"row"}),
    "row: root": (lambda room: room.put(3, root="0" * 64), {"row", "receipt"}),
    "row: previous": (lambda room: room.put(3, previous="0" * 64), {"row"}),
    "row: counts": (lambda room: room.put(3, bucket_events=7), {"row"}),
    "period": (
        lambda room: room.put(3, ingested_at=room.row(3).end_us // 1_000_000 - 1000),
        {"period", "receipt"},
    ),
    "receipt: signature": (
        lambda room: room.event(3, "statement", sig=flipped(_json(room, "statement")["sig"])),
        {"receipt"},
    ),
    "receipt: another's": (lambda room: room.put(3, statement=room.row(4).statement), {"receipt"}),
    "receipt: no statement": (lambda room: room.put(3, statement="[]"), {"receipt"}),
    "receipt: by another": (
        lambda room: room.event(3, "statement", **_signed_by_ben(_json(room, "statement")["content"])),
        {"receipt"},
    ),
    "withheld: gone": (lambda room: room.sql("DELETE FROM withheld"), {"chain"}),
}


def _picture(number: int) -> str:
    return sha256(PICTURE + b"%d" % number).hexdigest()


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_named_by_its_check(room: Room, look: Look, name: str) -> None:
    """Each kind of evidence, changed alone, fails in the check that is about it, and no other bundle does."""
    tamper, expected = TAMPERING[name]
    tamper(room)
    found = look()
    assert found.status == 76
    assert found.checks(3) == expected
    assert all(f"{check}: " in found.err for check in expected)
    untouched = {1} if name in ("blob: another's", "author: not enrolled") else {1, 4}
    if name != "author: not enrolled":
        assert all(not found.checks(number) for number in untouched)


# --- the chain -------------------------------------------------------------------------------------


def test_a_bundle_that_is_gone_is_missing(room: Room, look: Look) -> None:
    """A row that was deleted shows as a number that has no link."""
    room.sql("DELETE FROM screenshot WHERE bundle_id = 2")
    room.sql("DELETE FROM bundle WHERE sequence = 3")
    found = look()
    assert found.status == 76
    (chain,) = found.chains
    assert not chain["ok"] and chain["missing"] == [{"first": 3, "last": 3}]
    assert "link 3 is missing" in found.err


def test_a_withheld_link_that_is_gone_is_missing(room: Room, look: Look) -> None:
    """The worker's own omission has a link; without it there is a gap."""
    room.sql("DELETE FROM withheld")
    (chain,) = look().chains
    assert chain["missing"] == [{"first": 2, "last": 2}]


def test_a_forged_withheld_link_is_found(room: Room, look: Look) -> None:
    """Nobody but the worker can tell what was withheld."""
    link = room.sent.links[2]
    event = json.dumps(signed(link, BEN), separators=(",", ":"))
    room.sql(f"UPDATE withheld SET link_event = '{event}'")
    found = look()
    assert found.status == 76
    (chain,) = found.chains
    assert "signed by another" in chain["problems"][0]


def test_a_fork_is_found(room: Room, look: Look) -> None:
    """A number that was told in two versions is wrong, whichever of them has the bundle."""
    link = replace(room.sent.links[3], root=None)
    event = json.dumps(signed(link), separators=(",", ":"))
    with room.database() as connection:
        connection.exec_driver_sql(
            "INSERT INTO withheld SELECT worker_id, device, 3, ?, 0, 1, ?, ?, 1 FROM withheld",
            (link.hash, link.content, event),
        )
    found = look()
    assert found.checks(3) == {"chain"}
    assert any("two versions" in text for text in found.chains[0]["problems"])


def test_a_refused_fork_is_found(room: Room, look: Look, server: BlobServer, tmp_path: Path) -> None:
    """A second bundle for a number that is taken is refused when it comes, and seen here ever after."""
    what = sample((), (), capture_id="c3b", sequence=3, begin=FIRST)
    link = replace(link_of(what), previous=room.sent.links[2].hash)
    other = parcel(tmp_path, server, what, proof=proof_to_bytes(link.content, signed(link)))
    file = tmp_path / "fork.jsonl"
    file.write_bytes(encode_line(other.wrapped()))
    assert ingest.main([str(file)], standalone_mode=False).console.status == 76
    found = look()
    assert found.checks(3) == {"chain"}
    assert any("two versions" in text for text in found.chains[0]["problems"])


def test_a_link_that_does_not_continue_is_found(
    room: Room, look: Look, server: BlobServer, tmp_path: Path
) -> None:
    """A bundle whose link names another predecessor fails in the check of the chain."""
    what = sample((), (), capture_id="c5", sequence=5, begin=FIRST)
    take_in(tmp_path, parcel(tmp_path, server, what))  # its link says that it is the first
    found = look()
    assert found.checks(5) == {"chain"}
    assert "does not continue" in found.bundles[5]["problems"][0]["reason"]


# --- what is asked for -----------------------------------------------------------------------------


def test_a_period_is_looked_at_alone(room: Room, look: Look) -> None:
    """Only bundles in the period are looked at, and gaps outside of it are no news."""
    begin = room.row(4).begin_us // 1_000_000 + 1
    room.sql("DELETE FROM screenshot WHERE bundle_id = 1")
    room.sql("DELETE FROM bundle WHERE sequence = 1")
    since = datetime.fromtimestamp(begin, UTC).isoformat()
    found = look("--since", since)
    assert list(found.bundles) == [4]
    assert found.status == 0
    assert [(one["first"], one["last"]) for one in found.chains] == [(4, 4)]


def test_one_worker_is_looked_at_alone(room: Room, look: Look) -> None:
    """--user names a worker; one who is not known is refused."""
    assert list(look("--user", "ana").bundles) == [1, 3, 4]
    with pytest.raises(UsageError, match="no worker is called 'ben'"):
        look("--user", "ben")


def test_what_retention_took_is_no_failure(room: Room, look: Look) -> None:
    """A blob and screenshots that were removed by the operator's own rule are told as absent."""
    room.put(3, blob_removed_at=1, screenshots_removed_at=1)
    room.blob(3).unlink()
    room.file(_picture(3)).unlink()
    found = look()
    assert (found.status, found.err) == (0, "")
    assert found.bundles[3]["absent"] == ["blob", "screenshots"]
    room.put(3, manifest=room.row(3).manifest.replace('"events":1', '"events":3'))
    assert "manifest" in look().checks(3)


def test_an_unsigned_link_is_told(look: Look, room: Room, server: BlobServer, tmp_path: Path) -> None:
    """Where the worker does not sign links the seal still says whose the bundle is; that is told."""
    what = sample((), (), capture_id="c5", sequence=5, begin=FIRST)
    link = replace(link_of(what), previous=room.sent.links[4].hash)
    take_in(tmp_path, parcel(tmp_path, server, what, proof=proof_to_bytes(link.content, None)))
    found = look()
    assert found.status == 0
    assert found.bundles[5]["absent"] == ["signature", "receipt"]


def test_without_a_database_nothing_is_proved(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was ever taken in there is nothing to verify, and the status says so."""
    monkeypatch.setenv("POWDO_STATE_DIR", str(tmp_path / "other"))
    with pytest.raises(InputMissingError, match="there is no database"):
        verify.main([], standalone_mode=False)
