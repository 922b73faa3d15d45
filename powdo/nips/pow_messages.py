"""The messages of a service that mines for others (draft NIP-XX), for both ends of the wire.

Rules:
- a client asks `["POW", event, target]`, or with the two exchanged, as one service has it: types tell;
- the event is minimal (kind, tags, content) or full; an id and a signature that it has must be right;
- the service answers `["POW", event]` with nonce and id and without a signature, or a NOTICE;
- the draft's own NOTICE says "sufficient funds" where it means the contrary: it is read, and not written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips.event import MAX_TIME, Event, Unsigned
from powdo.nips.pow import committed, difficulty
from powdo.nips.pow_template import without_nonce
from powdo.nips.pow_terms import satoshis

_FUNDS = re.compile(r"funds\. current balance: (\d{1,18}) sat\. service fee: (\d{1,18}) sat", re.ASCII)
_RANGE = re.compile(r"target difficulty must be between (\d{1,3}) and (\d{1,3})", re.ASCII)
AUTH_REQUIRED = "auth-required: authenticate first (NIP-42), then ask for proof of work"
_SKEW = 600
#: What miners put into a nonce; words would be signed by whoever asked, and are a service's own.
_is_nonce = re.compile("[0-9A-Za-z+/=_-]{1,64}", re.ASCII).fullmatch
_USAGE = 'invalid: ask ["POW", <event>, <target bits>]'


class Ask(NamedTuple):
    """What a client wants: *event* still lacks a pubkey or a date where these are None."""

    kind_tags_content: Unsigned
    pubkey: str | None
    created_at: int | None
    target: int


class Funds(NamedTuple):
    """What a service says of an account that does not cover a fee, in satoshis."""

    balance: int
    fee: int


def parse_ask(value: list[object]) -> Ask:
    """Return what the message *value* asks for; its signature, if it has one, is checked.

    Raises:
        PeerProtocolError: it makes no sense; the message is what a NOTICE says.
    """
    events = [item for item in value[1:] if isinstance(item, Mapping)]
    targets = [item for item in value[1:] if type(item) is int]
    if len(value) != 3 or len(events) != 1 or len(targets) != 1:
        raise PeerProtocolError(_USAGE)
    fields, target = dict(events[0]), targets[0]
    pubkey, created_at = fields.get("pubkey"), fields.get("created_at")
    filled = {**fields, "pubkey": "0" * 64 if pubkey is None else pubkey}
    filled["created_at"] = 0 if created_at is None else created_at
    try:
        event = Unsigned.from_fields(filled)
        _check_claims(fields, event)
    except (BadRecordError, PeerProtocolError) as error:
        raise PeerProtocolError(f"invalid: {error.message}") from None
    return Ask(
        event,
        None if pubkey is None else event.pubkey,
        None if created_at is None else event.created_at,
        target,
    )


def _check_claims(fields: Mapping[str, object], event: Unsigned) -> None:
    """Return when id and signature are right or absent. Raises: BadRecordError, PeerProtocolError."""
    if fields.get("sig"):
        Event.from_json(fields).verify()
    elif fields.get("id") and fields["id"] != event.id:
        raise BadRecordError("the event has a wrong id")


def complete(ask: Ask, pubkey: str | None, now: int) -> Unsigned:
    """Return the event to mine, by *pubkey* and dated *now* where the client left that open.

    Raises:
        PeerProtocolError: it is not known whose it is, or it is dated in the future.
    """
    author = ask.pubkey or pubkey
    if author is None:
        raise PeerProtocolError("invalid: the event has no pubkey, and several are authenticated")
    created_at = now if ask.created_at is None else ask.created_at
    if created_at > min(now + _SKEW, MAX_TIME):
        raise PeerProtocolError("invalid: created_at is in the future")
    return ask.kind_tags_content._replace(pubkey=author, created_at=created_at)


def out_of_range(lowest: int, highest: int) -> str:
    """Return the draft's NOTICE for a target that is not mined."""
    return f"restricted: target difficulty must be between {lowest} and {highest}"


def insufficient(balance: int, fee: int) -> str:
    """Return the draft's NOTICE for an account with *balance* that does not cover *fee*, both in msat."""
    return (
        f"restricted: insufficient funds. current balance: {satoshis(balance)} sat. "
        f"service fee: {satoshis(fee, up=True)} sat"
    )


def parse_funds(notice: str) -> Funds | None:
    """Return what a NOTICE about funds says, in either spelling; None for another NOTICE."""
    match = _FUNDS.search(notice)
    return Funds(int(match[1]), int(match[2])) if match else None


def parse_range(notice: str) -> tuple[int, int] | None:
    """Return the lowest and highest target that a NOTICE names; None for another NOTICE."""
    match = _RANGE.search(notice)
    return (int(match[1]), int(match[2])) if match else None


def problem_with(mined: Mapping[str, object], asked: Unsigned, target: int, now: int) -> str | None:
    """Return how what a service gave differs from what was asked, None where it does not.

    It must be the same event but for its nonce and its date, which lies between that of what was asked and
    *now*, be hashed by its id, have the bits and commit to them; a signature it has is not looked at. The
    nonce is a short word: what else a service writes there would be signed as the author's own.
    """
    try:
        event = Unsigned.from_fields(mined)
    except BadRecordError as error:
        return error.message
    if mined.get("id") != event.id:
        return "its id is wrong"
    tags = without_nonce(asked.tags)
    if (event.pubkey, event.kind, event.content) != (asked.pubkey, asked.kind, asked.content):
        return "it is another event"
    if event.tags[:-1] != tags or without_nonce(event.tags) != tags:
        return "its tags are others than those asked for and one nonce"
    if len(event.tags[-1]) != 3 or not _is_nonce(event.tags[-1][1]):
        return "its nonce tag holds more than a nonce"
    dates = (asked.created_at, now)
    if not min(dates) - _SKEW <= event.created_at <= max(dates) + _SKEW:
        return "its date makes no sense"
    if committed(event.tags) != target or difficulty(event.id) < target:
        return f"it has not the {target} bits that were asked for"
    return None
