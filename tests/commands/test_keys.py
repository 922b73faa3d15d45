"""powdo keys."""

from __future__ import annotations

import json

import pytest

_MASTER = {"NSEC_MASTER_KEY": "0f" * 32}


def test_keys_are_made_and_shown(powdo):
    """New writes npubs, list all users, show one: as npub, hex or JSON, without the master key."""
    made = powdo("keys", "new", "ana", "bob", env=_MASTER)
    assert (made.returncode, made.stderr) == (0, b"")
    npubs = made.stdout.decode().splitlines()
    assert len(npubs) == 2
    assert all(npub.startswith("npub1") for npub in npubs)
    assert powdo("keys", "show", "bob").stdout.decode() == f"{npubs[1]}\n"
    pubkey = powdo("keys", "show", "--hex", "bob").stdout.decode().strip()
    assert len(bytes.fromhex(pubkey)) == 32
    record = json.loads(powdo("keys", "show", "--json", "bob").stdout)
    assert set(record) == {"id", "username", "nostr"}
    assert set(record["nostr"]) == {"npub", "created_at"}
    listed = [json.loads(line) for line in powdo("keys", "list", "--json").stdout.splitlines()]
    assert [(item["username"], item["nostr"]["npub"]) for item in listed] == [
        ("ana", npubs[0]),
        ("bob", npubs[1]),
    ]
    table = powdo("keys", "list").stdout.decode().splitlines()
    assert table[0].split() == ["user", "npub", "created"]
    assert table[2].split()[:2] == ["ana", npubs[0]]
    assert powdo("keys", "list", "--no-headers").stdout.decode().splitlines()[0].split()[:2] == [
        "ana",
        npubs[0],
    ]


def test_a_key_is_never_made_anew(powdo):
    """A second `new` of the same name is refused and changes nothing; names before it were made."""
    first = powdo("keys", "new", "ana", env=_MASTER).stdout
    again = powdo("keys", "new", "bob", "ana", env=_MASTER)
    assert again.returncode == 77
    assert again.stderr.startswith(b"powdo keys new: error: 'ana' has a key already")
    assert again.stdout.startswith(b"npub1")
    assert powdo("keys", "show", "ana").stdout == first


@pytest.mark.parametrize("master", [{}, {"NSEC_MASTER_KEY": "short"}, {"NSEC_MASTER_KEY": "zz" * 32}])
def test_a_master_key_that_is_missing_or_bad_ends_in_77(powdo, own_world, master):
    """No key is made without a good master key, and no keystore either."""
    done = powdo("keys", "new", "ana", env=master)
    assert (done.returncode, done.stdout) == (77, b"")
    assert b"hint: " in done.stderr
    assert not (own_world / "data" / "keystore.json").exists()


def test_another_master_key_is_told(powdo):
    """A keystore takes no key under a second master key."""
    powdo("keys", "new", "ana", env=_MASTER)
    done = powdo("keys", "new", "bob", env={"NSEC_MASTER_KEY": "ff" * 32})
    assert done.returncode == 77
    assert b"the master key does not open the key of 'ana'" in done.stderr
    assert b"ff" * 32 not in done.stderr


def test_an_unknown_name_ends_in_77(powdo):
    """Show says that there is no such key, and how to make it."""
    done = powdo("keys", "show", "nobody")
    assert (done.returncode, done.stdout) == (77, b"")
    assert b"powdo keys new nobody" in done.stderr
