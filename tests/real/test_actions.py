"""What `powdo event` writes is genuine to nostr-tools and nostr-sdk, and means to them what it should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nostr_sdk
import pytest

from powdo.adapters.keystore import Keystore
from powdo.nips import nip49

pytestmark = pytest.mark.real
_MASTER = {"NSEC_MASTER_KEY": "0f" * 32}

ACTIONS = {
    "profile": ("--name", "Ana ♥", "--about", 'x"\\\n', "--picture", "https://a.example/p.png"),
    "note": ("é🙂\u2028", "--mention", "dvm", "--topic", "t"),
    "booking": (
        "--title",
        "Room",
        "--start",
        "2026-12-01T09:00",
        "--end",
        "2026-12-03T09:00",
        "--person",
        "dvm",
    ),
    "shift": ("--title", "Counter", "--start", "2026-12-01T22:00:00Z", "--timezone", "Asia/Kathmandu"),
    "reward": ("--amount", "5", "--to", "dvm", "--reason", "Night"),
    "membership": ("--role", "keeper"),
    "relays": ("--relay", "wss://a.example", "--read", "wss://b.example", "--inbox", "wss://c.example"),
    "servers": ("--server", "https://a.example", "--server", "https://b.example"),
    "delete": ("ab" * 32, "--kind", "1"),
}


@pytest.fixture
def events(powdo: Any, own_world: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what each action writes."""
    Keystore(own_world / "data" / "keystore.json").create_all(["ana", "dvm"], bytes.fromhex("0f" * 32))
    found = {}
    for name, flags in ACTIONS.items():
        done = powdo("event", name, "--user", "ana", *flags, env=_MASTER)
        assert done.returncode == 0, done.stderr
        found[name] = [json.loads(line) for line in done.stdout.splitlines()]
    return found


def test_nostr_tools_verifies_every_action(events: Any, nostr_tools: Any) -> None:
    """Each event verifies, and none does once it is touched."""
    assert sum(map(len, events.values())) == len(ACTIONS) + 1
    for event in [event for found in events.values() for event in found]:
        assert nostr_tools.ask("verify", event=event) is True
        assert nostr_tools.ask("verify", event=event | {"created_at": event["created_at"] + 1}) is False


def test_nostr_sdk_verifies_and_understands_every_action(events: Any) -> None:
    """Each event verifies; profile, relay list and identifiers are read as they were meant."""
    parsed = {
        name: [nostr_sdk.Event.from_json(json.dumps(event)) for event in found]
        for name, found in events.items()
    }
    assert all(event.verify() for found in parsed.values() for event in found)
    (profile,) = parsed["profile"]
    metadata = nostr_sdk.Metadata.from_json(profile.content())
    assert json.loads(metadata.as_json()) == {
        "name": "Ana ♥",
        "about": 'x"\\\n',
        "picture": "https://a.example/p.png",
    }
    listed = nostr_sdk.extract_relay_list(parsed["relays"][0])
    assert sorted(str(url) for url in listed) == ["wss://a.example", "wss://b.example"]
    for name, identifier in (("reward", "chb:reward"), ("membership", "chb:membership")):
        (event,) = parsed[name]
        assert ["d", identifier] in [tag.to_vec() for tag in event.tags()]


def test_nostr_sdk_opens_our_ncryptsec_and_we_its() -> None:
    """A key encrypted with a password on either side (NIP-49) is opened on the other, ligatures and all."""
    keys = nostr_sdk.Keys.generate()
    password = "ﬁn \u212b"
    ours = nip49.encrypt(
        bytes.fromhex(keys.secret_key().to_hex()), password, salt=bytes(16), nonce=bytes(24), log_n=16
    )
    opened = nostr_sdk.EncryptedSecretKey.from_bech32(ours).decrypt(password)
    assert opened.to_hex() == keys.secret_key().to_hex()
    theirs = keys.secret_key().encrypt(password).to_bech32()
    assert nip49.decrypt(theirs, password).hex() == keys.secret_key().to_hex()
