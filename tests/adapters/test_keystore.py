"""Keys in custody."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from powdo.adapters.keystore import Keystore, new_record, open_record
from powdo.errors import BadRecordError, ConfigurationError, KeyRejectedError
from powdo.nips.bech32 import decode_nsec, encode_npub
from powdo.nips.curve import SecretKey
from tests.conftest import ROOT

_MASTER = bytes(range(32))
_KEY = SecretKey(b"\x07" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Keystore:
    """Return an empty keystore."""
    return Keystore(tmp_path / "data" / "keystore.json")


def test_the_record_has_exactly_the_fields_of_the_format():
    """A user record is {id, username, nostr}, with the six ciphertext parts, npub and created_at."""
    record = new_record("ana", _KEY, _MASTER)
    assert set(record) == {"id", "username", "nostr"}
    assert set(record["nostr"]) == {
        "npub", "encrypted_dek", "dek_iv", "dek_tag", "encrypted_nsec", "nsec_iv", "nsec_tag", "created_at",
    }  # fmt: skip
    assert record["nostr"]["npub"] == encode_npub(_KEY.pubkey)
    lengths = {
        name: len(base64.b64decode(record["nostr"][name]))
        for name in ("dek_iv", "dek_tag", "nsec_iv", "nsec_tag", "encrypted_dek")
    }
    assert lengths == {"dek_iv": 12, "dek_tag": 16, "nsec_iv": 12, "nsec_tag": 16, "encrypted_dek": 32}


def test_another_implementation_of_the_format_opens_a_record():
    """AES-256-GCM straight from the library, master key → DEK → nsec, gives the key."""
    nostr = new_record("ana", _KEY, _MASTER)["nostr"]
    part = {name: base64.b64decode(nostr[name]) for name in nostr if name not in ("npub", "created_at")}
    dek = AESGCM(_MASTER).decrypt(part["dek_iv"], part["encrypted_dek"] + part["dek_tag"], b"")
    nsec = AESGCM(dek).decrypt(part["nsec_iv"], part["encrypted_nsec"] + part["nsec_tag"], b"")
    assert len(dek) == 32
    assert nsec.startswith(b"nsec1")
    assert decode_nsec(nsec.decode()) == _KEY.secret_bytes()


def test_no_two_records_share_randomness():
    """The same key kept twice has other DEKs, IVs and ciphertexts."""
    one, two = (new_record("ana", _KEY, _MASTER)["nostr"] for _ in range(2))
    assert all(one[name] != two[name] for name in one if name not in ("npub", "created_at"))


def test_a_key_is_made_once_and_unlocked(store, tmp_path: Path):
    """What was created is unlocked again, from a file that only its owner can read."""
    record = store.create("ana", _MASTER)
    assert encode_npub(store.unlock("ana", _MASTER).pubkey) == record["nostr"]["npub"]
    with pytest.raises(KeyRejectedError, match="has a key already"):
        store.create("ana", _MASTER)
    assert store.records() == [record]
    assert stat.S_IMODE((tmp_path / "data" / "keystore.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert b"nsec1" not in (tmp_path / "data" / "keystore.json").read_bytes()


def test_another_master_key_opens_and_adds_nothing(store):
    """A wrong master key is told, and cannot put a second kind of record into the keystore."""
    store.create("ana", _MASTER)
    with pytest.raises(KeyRejectedError, match="does not open the key of 'ana'"):
        store.unlock("ana", b"\xff" * 32)
    with pytest.raises(KeyRejectedError, match="does not open"):
        store.create("bob", b"\xff" * 32)
    assert store.find("bob") is None


@pytest.mark.parametrize(
    "field", ["encrypted_dek", "dek_iv", "dek_tag", "encrypted_nsec", "nsec_iv", "nsec_tag", "npub"]
)
@pytest.mark.parametrize("change", ["flip", "cut", "empty", "number", "missing", "foreign"])
def test_a_damaged_record_is_refused(field, change):
    """A changed, cut or missing part is told as such, never as our bug, and never gives a key."""
    record = new_record("ana", _KEY, _MASTER)
    nostr = record["nostr"]
    value = nostr[field]
    other = {
        "flip": ("B" if value[0] == "A" else "A") + value[1:],
        "cut": value[:-4],
        "empty": "",
        "number": 5,
        "foreign": "ä" * 16,
    }
    if change == "missing":
        del nostr[field]
    else:
        nostr[field] = other[change]
    with pytest.raises(KeyRejectedError):
        open_record(record, _MASTER)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"users":{}}',
        b'{"users":[1]}',
        b'{"users":[{"username":"a"}]}',
        b'{"users":[{"username":"a","nostr":{}}]}',
        b"\xff",
    ],
)
def test_a_damaged_keystore_is_told(store, tmp_path: Path, content):
    """A file that is no keystore is neither read nor written over."""
    path = tmp_path / "data" / "keystore.json"
    path.parent.mkdir()
    path.write_bytes(content)
    for action in (store.records, lambda: store.get("ana"), lambda: store.create("ana", _MASTER)):
        with pytest.raises(ConfigurationError, match="is damaged"):
            action()
    assert path.read_bytes() == content


def test_a_key_that_is_not_there_is_told(store):
    """Who has no key is told how to make one."""
    with pytest.raises(KeyRejectedError, match="no key of 'ana'") as caught:
        store.get("ana")
    assert "powdo keys new ana" in caught.value.hint


@pytest.mark.parametrize("name", ["", " ana", "ana ", "a\nb", "a\x1b", "x" * 65])
def test_some_names_name_nobody(store, name):
    """Blank ends, control characters and endless names are refused."""
    with pytest.raises(BadRecordError, match="cannot name a user"):
        store.create(name, _MASTER)


def test_processes_that_create_at_once_lose_nothing(tmp_path: Path):
    """Six processes that each make keys at the same time leave all of them, each once."""
    path = tmp_path / "keystore.json"
    program = (
        "import sys; from pathlib import Path; from powdo.adapters.keystore import Keystore\n"
        "for n in range(5): Keystore(Path(sys.argv[1])).create(f'{sys.argv[2]}-{n}', bytes(range(32)))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), f"user{number}"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for number in range(6)
    ]
    assert [process.wait(60) for process in processes] == [0] * 6
    names = [user["username"] for user in json.loads(path.read_text())["users"]]
    assert sorted(names) == sorted(f"user{number}-{n}" for number in range(6) for n in range(5))
