from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from powdo.commands.verify import verify
from powdo.errors import CannotCreateError, InputMissingError, OutputError, UsageError
from powdo.nips.bech32 import encode_npub, encode_nsec
from powdo.nips.nip44 import conversation_key
from tests.conftest import ROOT
from tests.dvm import ANA, BEN, DVM, MASTER
from tests.evidence_room import PICTURE, Looked, Room, flip, flipped, room, server, signed, template

__all__ = ["room", "server", "template"]

NPUBS = ("--worker", encode_npub(ANA.pubkey), "--dvm", encode_npub(DVM.pubkey))
Check = Callable[..., Looked]


@pytest.fixture
def export(room: Room, tmp_path: Path) -> Path:
    """Return a sound export with all screenshots."""
    return made(tmp_path / "export", "--screenshots", "all")


def made(folder: Path, *flags: str) -> Path:
    """Return *folder*, into which what is stored was exported."""
    assert verify.main(["--export", str(folder), *flags], standalone_mode=False).console.status == 0
    return folder


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Check:
    """Return a function that runs `powdo verify DIR --json` where there is nothing but the folder."""

    def run(folder: Path, *flags: str) -> Looked:
        monkeypatch.delenv("NSEC_MASTER_KEY", raising=False)
        for name in ("POWDO_STATE_DIR", "POWDO_DATA_DIR", "POWDO_CONFIG"):
            monkeypatch.setenv(name, str(tmp_path / "nowhere" / name))
        capfd.readouterr()
        done = verify.main([str(folder), "--json", *(flags or NPUBS)], standalone_mode=False)
        assert not (tmp_path / "nowhere").exists()
        return Looked(done.console.status, *capfd.readouterr())

    return run


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in the lines of *path*."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, objects: list[dict[str, Any]]) -> None:
    """Write *objects* as the lines of *path*."""
    path.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in objects))


# --- what is written -------------------------------------------------------------------------------


def test_an_export_holds_what_was_signed_and_what_that_speaks_of(export: Path) -> None:
    """Links, receipts, manifests and screenshots are there, private, and counted for people."""
    names = sorted(str(path.relative_to(export)) for path in export.rglob("*") if path.is_file())
    assert [name for name in names if "/" not in name] == ["export.json", "links.jsonl", "receipts.jsonl"]
    assert len([name for name in names if name.startswith("manifests/")]) == 3
    assert sorted(name for name in names if name.startswith("screenshots/")) == sorted(
        f"screenshots/{sha256(PICTURE + b'%d' % number).hexdigest()}.png" for number in (1, 3, 4)
    )
    assert [json.loads(one["link"])["sequence"] for one in lines(export / "links.jsonl")] == [1, 2, 3, 4]
    about = json.loads((export / "export.json").read_text())
    assert {name: about[name] for name in ("links", "receipts", "manifests", "screenshots")} == {
        "links": 4,
        "receipts": 3,
        "manifests": 3,
        "screenshots": 3,
    }
    assert about["dvm"] == encode_npub(DVM.pubkey) and about["workers"] == [encode_npub(ANA.pubkey)]
    for path in (export, *export.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_no_key_is_ever_exported(room: Room, export: Path) -> None:
    """No secret of anybody, no bundle's or conversation's key, no rumor, seal or wrap is in an export."""
    everything = b"".join(path.read_bytes() for path in export.rglob("*") if path.is_file())
    secrets: list[str] = [MASTER, "decryption-key", "nsec1", "rumor", '"kind":13', '"kind":1059', '"kind":15']
    for key, peer in ((ANA, DVM), (DVM, ANA)):
        secret = key.secret_bytes()
        secrets += [encode_nsec(secret), secret.hex(), conversation_key(key, peer.pubkey).hex()]
    for sequence, sent in room.sent.parcels.items():
        row = room.row(sequence)
        secrets += [sent.message.decryption_key, sent.message.decryption_nonce, sent.message.ox]
        secrets += [row.wrap, row.rumor, json.loads(row.seal_event)["id"], sent.message.url]
    found = [secret for secret in secrets if secret.encode() in everything.replace(PICTURE, b"")]
    assert found == []


def test_only_chosen_screenshots_are_exported(room: Room, tmp_path: Path) -> None:
    """None by default; else those of a period or with a start of a sha256."""

    def names(folder: Path) -> list[str]:
        return sorted(path.stem for path in (folder / "screenshots").iterdir())

    third = sha256(PICTURE + b"3").hexdigest()
    at = json.loads(room.row(3).manifest)["screenshots"][0]["time"]
    later = json.loads(room.row(4).manifest)["screenshots"][0]["time"]
    assert names(made(tmp_path / "none")) == []
    assert names(made(tmp_path / "one", "--screenshots", third[:8])) == [third]
    assert names(made(tmp_path / "period", "--screenshots", f"{at}..{later}")) == [third]
    for wrong in ("some", "abc", "2026-99-01..now"):
        with pytest.raises(UsageError):
            made(tmp_path / "wrong", "--screenshots", wrong)
    assert not (tmp_path / "wrong").exists()


def test_an_export_is_whole_or_not_there(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is not written over; a disk that is full leaves nothing."""
    target = tmp_path / "place" / "out"
    target.mkdir(parents=True)
    with pytest.raises(CannotCreateError, match="there already"):
        made(target)
    target.rmdir()

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "sync", full)
    with pytest.raises(OutputError, match="No space left"):
        made(target)
    assert list(target.parent.iterdir()) == []


def test_what_fails_is_exported_and_told(room: Room, tmp_path: Path) -> None:
    """An export of evidence that was tampered with ends with 76, and a third party finds it too."""
    room.event(3, "link_event", sig=flipped(json.loads(room.row(3).link_event)["sig"]))
    done = verify.main(["--export", str(tmp_path / "out")], standalone_mode=False)
    assert done.console.status == 76
    assert verify.main([str(tmp_path / "out"), *NPUBS], standalone_mode=False).console.status == 76


# --- what a third party finds ----------------------------------------------------------------------


def test_a_sound_export_is_proved(export: Path, check: Check) -> None:
    """With the npubs alone links, receipts, manifests, screenshots and the chain are found right."""
    found = check(export)
    assert (found.status, found.err) == (0, "")
    assert list(found.bundles) == [1, 3, 4]
    assert all(one["ok"] and one["received"] and not one["absent"] for one in found.bundles.values())
    (chain,) = found.chains
    assert (chain["first"], chain["last"], chain["bundles"], chain["withheld"]) == (1, 4, 3, 1)


def test_without_screenshots_their_hashes_are_proved(room: Room, tmp_path: Path, check: Check) -> None:
    """Screenshots that are not in the export are told as absent."""
    found = check(made(tmp_path / "out"))
    assert found.status == 0
    assert [one["absent"] for one in found.bundles.values()] == [["screenshots"]] * 3


def test_a_part_of_a_chain_is_proved_as_such(room: Room, tmp_path: Path, check: Check) -> None:
    """An export of a period begins within the chain, which its record shows."""
    at = json.loads(room.row(3).manifest)["screenshots"][0]["time"]
    found = check(made(tmp_path / "out", "--since", at))
    assert found.status == 0
    assert [(one["first"], one["last"]) for one in found.chains] == [(3, 4)]


def test_it_needs_no_more_than_the_folder(export: Path, tmp_path: Path) -> None:
    """A process with an empty environment and no network, home or configuration checks it."""
    code = (
        "import socket, sys\n"
        "def none(*_): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = none\n"
        "from powdo.cli import main\nmain()"
    )
    nowhere = tmp_path / "empty"
    nowhere.mkdir()
    moved = shutil.move(export, tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(moved), *NPUBS],
        env={"PYTHONPATH": str(ROOT), "HOME": str(nowhere)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(nowhere.iterdir()) == []


def _line(name: str, at: int, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        objects = lines(folder / name)
        change(objects[at])
        write(folder / name, objects)

    return tamper


def _drop(name: str, at: int) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        objects = lines(folder / name)
        del objects[at]
        write(folder / name, objects)

    return tamper


def _sig(one: dict[str, Any]) -> None:
    one["sig"] = flipped(one["sig"])


def _own_manifest(folder: Path) -> Path:
    root = json.loads(lines(folder / "links.jsonl")[2]["link"])["root"]
    return folder / "manifests" / f"{root}.json"


def _picture(folder: Path) -> Path:
    return folder / "screenshots" / f"{sha256(PICTURE + b'3').hexdigest()}.png"


def _by_ben(one: dict[str, Any]) -> None:
    from powdo.worktime.link import parse_link

    one["event"] = signed(parse_link(one["link"]), BEN)


TAMPERING: dict[str, tuple[Callable[[Path], None], str]] = {
    "link: signature": (_line("links.jsonl", 2, lambda one: _sig(one["event"])), "link"),
    "link: by another": (_line("links.jsonl", 2, _by_ben), "link"),
    "link: unsigned": (_line("links.jsonl", 2, lambda one: one.update(event=None)), "link"),
    "link: gone": (_drop("links.jsonl", 2), "link 3 is missing"),
    "link: withheld, gone": (_drop("links.jsonl", 1), "link 2 is missing"),
    "link: withheld, by another": (_line("links.jsonl", 1, _by_ben), "signed by none of the workers"),
    "link: no link": (_line("links.jsonl", 2, lambda one: one.update(link="{}")), "links.jsonl: line 3"),
    "link: no object": (lambda folder: (folder / "links.jsonl").write_text("[]\n"), "links.jsonl: line 1"),
    "receipt: signature": (_line("receipts.jsonl", 1, _sig), "receipt"),
    "receipt: content": (
        _line("receipts.jsonl", 1, lambda one: one.update(content=one["content"].replace("20", "19"))),
        "receipt",
    ),
    "receipt: without link": (
        lambda folder: write(folder / "links.jsonl", lines(folder / "links.jsonl")[:3]),
        "no link is here for the receipt",
    ),
    "receipt: no event": (
        _line("receipts.jsonl", 1, lambda one: one.pop("sig")),
        "receipts.jsonl: line 2",
    ),
    "manifest: a bit": (lambda folder: flip(_own_manifest(folder)), "manifest"),
    "manifest: gone": (lambda folder: _own_manifest(folder).unlink(), "manifest: it is not in the export"),
    "manifest: one too many": (
        lambda folder: (folder / "manifests" / f"{'0' * 64}.json").write_text("{}"),
        "nothing that was signed speaks of",
    ),
    "manifest: a link": (
        lambda folder: (
            _own_manifest(folder).rename(folder / "x"),
            _own_manifest(folder).symlink_to(folder / "x"),
        )[1],
        "manifest",
    ),
    "screenshot: a bit": (lambda folder: flip(_picture(folder)), "screenshots"),
    "screenshot: one too many": (
        lambda folder: (folder / "screenshots" / f"{'0' * 64}.png").write_text("x"),
        "nothing that was signed speaks of",
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_with_an_export_is_found(export: Path, check: Check, name: str) -> None:
    """Each kind of file, changed alone, is told by what it is."""
    tamper, expected = TAMPERING[name]
    tamper(export)
    found = check(export)
    assert found.status == 76
    assert expected in found.err
    assert "''" not in found.err


def test_another_persons_npub_proves_nothing(export: Path, check: Check) -> None:
    """Links of another worker, or receipts of another DVM, are not what was asked for."""
    ben = encode_npub(BEN.pubkey)
    found = check(export, "--worker", ben, "--dvm", encode_npub(DVM.pubkey))
    assert found.status == 76 and found.checks(1) == {"link"}
    found = check(export, "--worker", encode_npub(ANA.pubkey), "--dvm", ben)
    assert found.status == 76 and found.checks(1) == {"receipt"}


def test_flags_that_make_no_sense_together_are_refused(export: Path, tmp_path: Path) -> None:
    """An export is checked whole and by npubs; what is stored has no need of them."""
    for wrong in (
        [str(export)],
        [str(export), "--worker", encode_npub(ANA.pubkey)],
        [str(export), *NPUBS, "--user", "ana"],
        [str(export), *NPUBS, "--last", "2w"],
        ["--worker", encode_npub(ANA.pubkey)],
        ["--screenshots", "all"],
        [str(export), "--worker", "npub1nonsense", "--dvm", "x"],
    ):
        with pytest.raises(UsageError):
            verify.main(wrong, standalone_mode=False)
    with pytest.raises(InputMissingError):
        verify.main([str(tmp_path), *NPUBS], standalone_mode=False)
