"""Keys in custody where the database keeps them: every command finds them there, and no file is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.database import KeyTable
from powdo.admission import union
from powdo.nips.bech32 import encode_npub
from powdo.nips.event import Event
from powdo.settings import load

Powdo = Any
MASTER = {"NSEC_MASTER_KEY": "0f" * 32}


@pytest.fixture
def operator(own_world: Path) -> Path:
    """Return the folder of an operator whose keys lie in the database."""
    (own_world / "powdo.toml").write_text(
        '[identity]\nuser = "dvm"\nkeystore = "database"\n[dvm]\nrelays = ["ws://127.0.0.1:9"]\n'
        f'database = "sqlite:///{own_world}/shared.sqlite"\n'
    )
    (own_world / "powdo.toml").chmod(0o600)
    return own_world


def test_every_command_finds_them(powdo: Powdo, operator: Path) -> None:
    """Made, listed, shown, signed with, rotated, deleted and audited, without a keystore file."""
    made = powdo("keys", "new", "dvm", "ana", env=MASTER)
    assert (made.returncode, made.stderr) == (0, b"")
    npub = made.stdout.decode().splitlines()[1]
    assert powdo("keys", "show", "ana").stdout.decode().strip() == npub
    (event,) = map(Event.parse, powdo("event", "note", "--user", "ana", "hi", env=MASTER).stdout.splitlines())
    event.verify()
    new = operator / "new.key"
    new.write_text("a5" * 32)
    new.chmod(0o600)
    assert powdo("keys", "rotate-master", "--new-key-file", str(new), env=MASTER).returncode == 0
    assert powdo("keys", "audit", env=MASTER).returncode == 77
    rotated = {"NSEC_MASTER_KEY": "a5" * 32}
    assert powdo("keys", "audit", env=rotated).returncode == 0
    assert powdo("keys", "delete", "ana", "--yes", env=rotated).returncode == 0
    listed = [json.loads(line) for line in powdo("keys", "list", "--json").stdout.splitlines()]
    assert [(item["username"], "deleted_at" in item["nostr"]) for item in listed] == [
        ("dvm", False),
        ("ana", True),
    ]
    done = powdo("event", "note", "--user", "ana", "hi", env=rotated)
    assert (done.returncode, b"was deleted" in done.stderr) == (77, True)
    assert not (operator / "data" / "keystore.json").exists()
    table = KeyTable(f"sqlite:///{operator}/shared.sqlite")
    assert [record["username"] for record in table.records()] == ["dvm", "ana"]
    table.close()


def test_the_allowlist_counts_them(powdo: Powdo, operator: Path) -> None:
    """Who is wanted on the relay's list are the keys in the database."""
    npubs = powdo("keys", "new", "dvm", "ana", env=MASTER).stdout.decode().splitlines()
    wanted = union(load(), ()).reasons
    assert {encode_npub(pubkey): why for pubkey, why in wanted.items()} == {
        npubs[0]: ["dvm"],
        npubs[1]: ["custody ana"],
    }


def test_an_operator_with_a_database_is_set_up_so(powdo: Powdo, own_world: Path) -> None:
    """`init operator --database` writes it so, and the DVM's key lies there."""
    url = f"sqlite:///{own_world}/shared.sqlite"
    relay = ("--relay", "wss://relay.example", "--blossom", "https://blossom.example")
    done = powdo("init", "operator", "--yes", "--database", url, *relay, env=MASTER)
    assert b'keystore = "database"' in (own_world / "powdo.toml").read_bytes(), done.stderr
    table = KeyTable(url)
    assert [record["username"] for record in table.records()] == ["dvm"]
    table.close()
    assert not (own_world / "data" / "keystore.json").exists()


def test_another_word_is_no_place(powdo: Powdo, own_world: Path) -> None:
    """A place that is neither file nor database is told with its key."""
    (own_world / "powdo.toml").write_text('[identity]\nkeystore = "cloud"\n')
    (own_world / "powdo.toml").chmod(0o600)
    done = powdo("keys", "list")
    assert done.returncode == 78
    assert b"[identity] keystore: 'cloud' is neither" in done.stderr
