"""Who signs: a key in custody, unlocked for one signature at a time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from powdo.errors import BadRecordError, KeyRejectedError, UsageError
from powdo.nips.bech32 import decode_npub, parse_pubkey
from powdo.nips.event import Event, Unsigned, sign

if TYPE_CHECKING:
    from powdo.custody import UserRecord
    from powdo.nips.actions import Draft
    from powdo.run import Run

#: NIP-17: a signed one might leak and be public for ever.
_NEVER_SIGNED = (14, 15)


def required_user(name: object) -> str:
    """Return *name*. Raises: UsageError when there is none, BadRecordError when it is no text."""
    if name is None:
        raise UsageError("nobody is to sign", hint="name a user whose key is in custody with --user NAME")
    if not isinstance(name, str):
        raise BadRecordError("field 'user' must be a string")
    return name


class Signer:
    """Signs as *user*; with *create_key* a key is made if there is none.

    Raises: KeyRejectedError.
    """

    def __init__(self, run: Run, user: str, *, create_key: bool) -> None:
        self.run = run
        self.user = user
        record = _made(run, user) if create_key else run.keystore.get(user)
        self.pubkey = decode_npub(record["nostr"]["npub"])
        self._warn()

    def sign(self, draft: Draft, created_at: int | None = None) -> Event:
        """Return *draft* signed, dated now unless another time is given."""
        moment = int(time.time()) if created_at is None else created_at
        return self.sign_event(draft.by(self.pubkey, moment))

    def sign_template(self, template: Mapping[str, Any], kinds: tuple[int, ...] | None = None) -> Event:
        """Return the event in *template* signed; what it lacks of author, time and tags is filled in.

        Raises: BadRecordError when it is signed, another's, of none of *kinds*, or none that may be signed.
        """
        if template.get("sig") is not None:
            raise BadRecordError("the event is signed already", hint="leave out its id and sig")
        absent: dict[str, Any] = {"created_at": int(time.time()), "pubkey": self.pubkey, "tags": []}
        unsigned = Unsigned.from_fields(absent | dict(template))
        if template.get("id") not in (None, unsigned.id):
            raise BadRecordError("the event has a wrong id")
        if unsigned.pubkey != self.pubkey:
            raise BadRecordError(f"the event is by somebody else than '{self.user}'")
        if kinds is not None and unsigned.kind not in kinds:
            raise BadRecordError(f"kind {unsigned.kind} is another action", hint="see `powdo event sign`")
        if unsigned.kind in _NEVER_SIGNED:
            raise BadRecordError(
                f"kind {unsigned.kind} is never signed (NIP-17)",
                hint="messages are sealed and wrapped unsigned",
            )
        return self.sign_event(unsigned)

    def sign_event(self, unsigned: Unsigned) -> Event:
        """Return *unsigned* signed; the key is unlocked for this moment only."""
        with self.run.key(self.user) as key:
            return sign(unsigned, key, secrets.token_bytes(32))

    def person(self, who: str) -> str:
        """Return the pubkey that *who* gives: an npub, hex, or the name of a key in custody.

        Raises: BadRecordError.
        """
        record = self.run.keystore.find(who)
        if record is not None:
            return decode_npub(record["nostr"]["npub"])
        try:
            return parse_pubkey(who)
        except BadRecordError as error:
            hint = error.hint or "give an npub, or the name of a key in custody"
            raise BadRecordError(f"nobody is known by that name: {error.message}", hint=hint) from None

    def _warn(self) -> None:
        identity = self.run.settings.identity
        if identity.access_user and self.user == identity.user != identity.access_user:
            self.run.console.warning(
                f"'{self.user}' is the identity, which only the DVM knows so far",
                hint="whoever gets what it signs learns of it",
            )


def _made(run: Run, user: str) -> UserRecord:
    """Return the record of *user*, made now if there is none; two may do so at once."""
    record = run.keystore.find(user)
    if record is not None:
        return record
    from powdo.admission import tell_of_keys

    try:
        record = run.keystore.create(user, run.settings.master_key())
    except KeyRejectedError:
        record = run.keystore.find(user)
        if record is None:
            raise
        return record
    tell_of_keys(run, [record], _TIMEOUT)
    return record


_TIMEOUT = 30.0


# --- templates -------------------------------------------------------------------------------------


def read_fields(
    template: Mapping[str, Any], known: Mapping[str, Callable[[str, Any], Any]]
) -> dict[str, Any]:
    """Return the fields of *template*, by the names of the flags. Raises: BadRecordError."""
    fields = {}
    for key, value in template.items():
        name = key.replace("-", "_")
        if name not in known:
            raise BadRecordError(
                f"'{key[:40]}' is no field of this action", hint=f"known are {', '.join(known)}"
            )
        if value is not None:
            fields[name] = known[name](key, value)
    return fields


def text(name: str, value: Any) -> str:
    """Return *value* if it is a string. Raises: BadRecordError."""
    if not isinstance(value, str):
        raise BadRecordError(f"field '{name}' must be a string")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Return a string or a list of strings as a tuple. Raises: BadRecordError."""
    items = value if isinstance(value, list) else [value]
    return tuple(text(name, item) for item in items)


def amount(name: str, value: Any) -> str:
    """Return a number or a string as text. Raises: BadRecordError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRecordError(f"field '{name}' must be a number")
    return str(value)


def instant(name: str, value: Any) -> str:
    """Return a time as text; a number is unix seconds. Raises: BadRecordError."""
    if type(value) is int:
        from powdo.lines import format_time
        from powdo.worktime.manifest import from_micros

        try:
            return format_time(from_micros(value * 1_000_000))
        except OverflowError:
            raise BadRecordError(f"field '{name}' is no time") from None
    return text(name, value)


def numbers(name: str, value: Any) -> tuple[int, ...]:
    """Return a whole number or a list of them as a tuple. Raises: BadRecordError."""
    items = value if isinstance(value, list) else [value]
    if not all(type(item) is int and 0 <= item <= 65535 for item in items):
        raise BadRecordError(f"field '{name}' must hold kinds of events")
    return tuple(cast("list[int]", items))
