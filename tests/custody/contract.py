"""What every keystore does, wherever its records lie: the tests of `Custody`, to be subclassed for each."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from powdo.custody import Custody, UserRecord, WrongMasterError, is_deleted
from powdo.custody.audit import audit
from powdo.errors import BadRecordError, KeyRejectedError, UsageError
from powdo.nips.bech32 import decode_npub, encode_npub
from powdo.nips.curve import SecretKey

MASTER, OTHER = bytes(range(32)), b"\xee" * 32
LIVE = {
    "npub", "encrypted_dek", "dek_iv", "dek_tag", "encrypted_nsec", "nsec_iv", "nsec_tag", "created_at",
}  # fmt: skip
NSEC = ("encrypted_nsec", "nsec_iv", "nsec_tag")
DEK = ("encrypted_dek", "dek_iv", "dek_tag")


def nothing(_count: int) -> None:
    """Show no progress."""


class Crash(BaseException):
    """The end of a process in the middle of a change."""


class CustodyContract:
    """The contract; a subclass gives the fixture `store`, and `again` to open the same records anew."""

    def test_a_record_has_exactly_the_fields_of_the_format(self, store: Custody) -> None:
        """A user record is {id, username, nostr}, and `nostr` has eight fields."""
        record = store.create("ana", MASTER)
        assert set(record) == {"id", "username", "nostr"}
        assert set(record["nostr"]) == LIVE
        assert store.records() == [record]
        assert store.find("ana") == record

    def test_aes_gcm_alone_opens_a_stored_record(self, store: Custody) -> None:
        """Master key → DEK → nsec by the cryptography library alone gives the key of the npub."""
        store.create("ana", MASTER)
        nostr = store.get("ana")["nostr"]
        part = {name: base64.b64decode(nostr[name], validate=True) for name in (*DEK, *NSEC)}
        dek = AESGCM(MASTER).decrypt(part["dek_iv"], part["encrypted_dek"] + part["dek_tag"], None)
        nsec = AESGCM(dek).decrypt(part["nsec_iv"], part["encrypted_nsec"] + part["nsec_tag"], None)
        assert nsec.startswith(b"nsec1")
        with store.unlock("ana", MASTER) as key:
            assert encode_npub(key.pubkey) == nostr["npub"]

    def test_names_and_keys_are_unique(self, store: Custody) -> None:
        """A name or a key that is there already is refused, and nothing of that call is kept."""
        store.create("ana", MASTER)
        with pytest.raises(KeyRejectedError, match="'ana' has a key already"):
            store.create_all(["bob", "ana"], MASTER)
        with pytest.raises(KeyRejectedError, match="'cy' has a key already"):
            store.create_all(["cy", "cy"], MASTER)
        with store.unlock("ana", MASTER) as key, pytest.raises(KeyRejectedError, match="as that of 'ana'"):
            store.adopt("bob", key, MASTER)
        assert [record["username"] for record in store.records()] == ["ana"]

    def test_a_key_is_taken_in_once(self, store: Custody) -> None:
        """The same key under the same name again changes nothing; another under that name is refused."""
        key = SecretKey(b"\x07" * 32)
        record = store.adopt("ana", key, MASTER)
        assert store.adopt("ana", key, MASTER) == record
        assert store.records() == [record]
        assert decode_npub(record["nostr"]["npub"]) == key.pubkey
        with pytest.raises(KeyRejectedError, match="has a key already"):
            store.adopt("ana", SecretKey(b"\x08" * 32), MASTER)
        with pytest.raises(WrongMasterError):
            store.adopt("ana", key, OTHER)

    def test_another_master_key_is_told_at_once(self, store: Custody) -> None:
        """A wrong master key opens nothing and adds nothing, also where the first key was deleted."""
        store.create_all(["gone", "ana"], MASTER)
        store.delete("gone")
        for action in (
            lambda: store.unlock("ana", OTHER),
            lambda: store.create("bob", OTHER),
            lambda: store.rotate(OTHER, b"\x01" * 32, nothing),
        ):
            with pytest.raises(WrongMasterError, match="the master key does not open the key of 'ana'"):
                action()
        assert store.find("bob") is None

    @pytest.mark.parametrize("name", ["", " ana", "a\nb", "a\x1b", "x" * 65, "nsec1abc", "AB" * 32])
    def test_some_names_name_nobody(self, store: Custody, name: str) -> None:
        """Blank ends, control characters, endless names and what may be a secret are refused, unseen."""
        with pytest.raises(BadRecordError, match="cannot name a user") as caught:
            store.create(name, MASTER)
        if "nsec" in name or "AB" in name:
            assert name not in f"{caught.value.message} {caught.value.hint}"
        assert store.records() == []

    def test_a_name_without_a_key_is_told(self, store: Custody) -> None:
        """Who has no key is told how to make one; a secret in the place of a name is not repeated."""
        with pytest.raises(KeyRejectedError, match="no key of 'bob'") as caught:
            store.get("bob")
        assert "powdo keys new bob" in str(caught.value.hint)
        with pytest.raises(KeyRejectedError) as caught:
            store.unlock("nsec1secret", MASTER)
        assert "nsec1secret" not in f"{caught.value.message} {caught.value.hint}"

    def test_a_deleted_key_is_zeros_and_an_npub(self, store: Custody, raw: Callable[[], bytes]) -> None:
        """Nothing that was encrypted is left, in the record or in the files; npub and date are."""
        before = store.create("ana", MASTER)
        secrets = [before["nostr"][name].encode() for name in (*DEK, *NSEC)]
        assert all(secret in raw() for secret in secrets)
        after = store.delete("ana")
        assert after == store.get("ana")
        assert after["nostr"]["npub"] == before["nostr"]["npub"]
        assert set(after["nostr"]) == {*LIVE, "deleted_at"}
        assert not any(any(base64.b64decode(after["nostr"][name])) for name in (*DEK, *NSEC))
        assert not any(secret in raw() for secret in secrets)
        with pytest.raises(KeyRejectedError, match="the key of 'ana' was deleted on 20"):
            store.unlock("ana", MASTER)
        assert store.delete("ana") == after
        with pytest.raises(KeyRejectedError, match="has a key already"):
            store.create("ana", MASTER)
        with pytest.raises(KeyRejectedError, match="no key of 'bob'"):
            store.delete("bob")

    def test_rotation_changes_the_deks_alone(self, store: Custody, raw: Callable[[], bytes]) -> None:
        """Each nsec's ciphertext stays byte for byte, each DEK's is new, and the old ones are overwritten."""
        store.create_all(["ana", "bob", "gone"], MASTER)
        store.delete("gone")
        before = {record["username"]: record for record in store.records()}
        pubkeys = {name: store.unlock(name, MASTER).pubkey for name in ("ana", "bob")}
        assert store.rotate(MASTER, OTHER, nothing) == 2
        after = {record["username"]: record for record in store.records()}
        assert list(after) == list(before)
        assert after["gone"] == before["gone"]
        for name, pubkey in pubkeys.items():
            old, new = before[name]["nostr"], after[name]["nostr"]
            assert {part for part in LIVE if old[part] != new[part]} == set(DEK)
            assert old["encrypted_dek"].encode() not in raw()
            assert store.unlock(name, OTHER).pubkey == pubkey
        with pytest.raises(WrongMasterError):
            store.unlock("ana", MASTER)
        with pytest.raises(UsageError, match="is the one in use"):
            store.rotate(OTHER, OTHER, nothing)

    def test_a_rotation_that_ends_midway_changes_nothing(
        self, store: Custody, again: Callable[[], Custody]
    ) -> None:
        """Whatever stops it between two records, all of them are as they were."""
        store.create_all(["ana", "bob", "cy"], MASTER)
        before = store.records()
        calls = 0

        def crash(_count: int) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Crash

        with pytest.raises(Crash):
            store.rotate(MASTER, OTHER, crash)
        assert again().records() == before

    def test_a_rotation_past_a_damaged_record_changes_nothing(
        self, store: Custody, tamper: Callable[..., None]
    ) -> None:
        """One record that does not open keeps all under the old master key."""
        store.create_all(["ana", "bob"], MASTER)
        tamper("bob", encrypted_dek="AAAA")
        before = store.records()
        with pytest.raises(KeyRejectedError, match="'bob' in the keystore is damaged"):
            store.rotate(MASTER, OTHER, nothing)
        assert store.records() == before

    def test_an_audit_finds_what_was_changed(self, store: Custody, tamper: Callable[..., None]) -> None:
        """A sound keystore has no findings; another npub, a cut part and an IV used twice are found."""
        store.create_all(["ana", "bob", "cy", "dan", "gone"], MASTER)
        store.delete("gone")
        assert audit(store.records(), MASTER, nothing) == []
        with pytest.raises(WrongMasterError):
            audit(store.records(), OTHER, nothing)
        tamper("bob", npub=encode_npub(SecretKey(b"\x09" * 32).pubkey))
        tamper("cy", nsec_tag=store.get("cy")["nostr"]["nsec_tag"][:-4])
        tamper("dan", nsec_iv=store.get("ana")["nostr"]["nsec_iv"])
        found = [(finding.username, finding.problem) for finding in audit(store.records(), MASTER, nothing)]
        assert found == [
            ("bob", "the record of 'bob' holds another key than its npub says"),
            ("cy", "the record of 'cy' in the keystore is damaged"),
            ("dan", "the record of 'dan' in the keystore is damaged"),
            ("ana", "'ana' and 'dan' share an IV"),
        ]

    @pytest.mark.parametrize("part", [*DEK, *NSEC])
    def test_a_part_changed_by_hand_is_told(
        self, store: Custody, part: str, tamper: Callable[..., None]
    ) -> None:
        """A flipped bit, a cut end or nonsense in any part gives no key and says whose record it is."""
        store.create("ana", MASTER)
        good = store.get("ana")["nostr"][part]
        for bad in (("B" if good[0] == "A" else "A") + good[1:], good[:-4], "", "ä" * 16, "nonsense"):
            tamper("ana", **{part: bad})
            with pytest.raises(KeyRejectedError, match="'ana'"):
                store.unlock("ana", MASTER)
            assert audit_names(store.records()) == ["ana"]

    def test_ten_thousand_users(self, store: Custody) -> None:
        """As many users as that are made, found, rotated and audited."""
        names = [f"user-{number}" for number in range(10_000)]
        store.create_all(names, MASTER)
        assert store.rotate(MASTER, OTHER, nothing) == 10_000
        assert [record["username"] for record in store.records()] == names
        assert audit(store.records(), OTHER, nothing) == []
        assert not is_deleted(store.get("user-9999"))


def audit_names(records: list[UserRecord]) -> list[str]:
    """Return whose records the audit complains of; where it opens none, of all."""
    try:
        return [finding.username for finding in audit(records, MASTER, nothing)]
    except WrongMasterError:
        return [str(record["username"]) for record in records]


def changed(record: UserRecord, parts: dict[str, Any]) -> UserRecord:
    """Return *record* with other *parts*."""
    return {**record, "nostr": record["nostr"] | parts}
