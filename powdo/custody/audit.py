"""The check of a whole keystore: every record opens, holds what its npub says, shares no IV, name or key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from powdo.custody.record import UserRecord, WrongMasterError, is_deleted, open_record
from powdo.errors import KeyRejectedError

_IVS = ("dek_iv", "nsec_iv")
_UNIQUE = {"a name": "username", "an id": "id", "an npub": "npub"}


class Finding(NamedTuple):
    """What is wrong with the record of *username*."""

    username: str
    problem: str


def audit(records: Iterable[UserRecord], master: bytes, progress: Callable[[int], None]) -> list[Finding]:
    """Return everything that is wrong with *records*, which the *master* key should open.

    Raises: WrongMasterError when it opens none of them.
    """
    findings: list[Finding] = []
    opened, strange = 0, None
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        for what, value in _values(record):
            seen[what, value].append(record["username"])
        progress(1)
        if is_deleted(record):
            findings += _remains(record)
            continue
        try:
            open_record(record, master).wipe()
            opened += 1
        except KeyRejectedError as error:
            strange = error if isinstance(error, WrongMasterError) else strange
            findings.append(Finding(record["username"], error.message))
    if strange is not None and not opened:
        raise strange
    for (what, _), users in seen.items():
        if len(users) > 1:
            findings.append(Finding(users[0], f"'{users[0]}' and '{users[-1]}' share {what}"))
    return findings


def _values(record: UserRecord) -> Iterator[tuple[str, str]]:
    """Yield what no other record may have, written out, since what was changed by hand may be anything."""
    yield from ((what, repr(record.get(name, record["nostr"].get(name)))) for what, name in _UNIQUE.items())
    if not is_deleted(record):
        yield from (("an IV", repr(record["nostr"][name])) for name in _IVS if name in record["nostr"])


def _remains(record: UserRecord) -> list[Finding]:
    """Return whether something is left of a key that was deleted."""
    left = record["nostr"].get("encrypted_nsec")
    if isinstance(left, str) and not left.strip("A="):
        return []
    return [Finding(record["username"], f"the key of '{record['username']}' was deleted, but not its nsec")]
