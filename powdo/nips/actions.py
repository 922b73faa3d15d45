"""What users of a community do, as events that are still to be signed.

| action | kind | standard |
|---|---|---|
| profile | 0 | NIP-01 |
| note | 1 | NIP-01 |
| deletion | 5 | NIP-09 |
| relay list, inbox relays | 10002, 10050 | NIP-65, NIP-17 |
| Blossom servers | 10063 | BUD-03 |
| reward, membership | 30078 | NIP-78, d = `chb:reward`, `chb:membership` |
| booking, shift | 31923 | NIP-52 |

Rules:
- what a standard requires is there, or BadRecordError says what is missing;
- the same action gives the same event but for its time: identifiers are made of what it says, so that
  sending it again replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from powdo.errors import BadRecordError
from powdo.lines import encode_json
from powdo.nips.bech32 import parse_pubkey
from powdo.nips.event import Event, Tags, Unsigned

PROFILE, NOTE, DELETION, RELAYS, INBOX, SERVERS, APP_DATA, CALENDAR = (
    0,
    1,
    5,
    10002,
    10050,
    10063,
    30078,
    31923,
)
REWARD, MEMBERSHIP = "chb:reward", "chb:membership"
#: The tag that tells a reward counted from tracked time, whose hours are nobody's business outside.
TRACKED = ("source", "tracked-time")

_DAY = 86400
_LONGEST = 366 * _DAY
_is_hex64 = re.compile("[0-9a-f]{64}").fullmatch
_ADDRESS = re.compile(r"(\d{1,5}):([0-9a-f]{64}):(.*)", re.DOTALL)


class Draft(NamedTuple):
    """An event that has no author and no time yet."""

    kind: int
    tags: Tags
    content: str

    def by(self, pubkey: str, created_at: int) -> Unsigned:
        """Return the event of *pubkey* at *created_at*."""
        return Unsigned(pubkey, created_at, self.kind, self.tags, self.content)


def profile(**fields: str | None) -> Draft:
    """Return what a user tells of themself: name, about, picture and the like, those that are given."""
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        raise BadRecordError("the profile says nothing", hint="give a name at least")
    return Draft(PROFILE, (), encode_json(given))


def note(text: str, *, mentions: Iterable[str] = (), topics: Iterable[str] = ()) -> Draft:
    """Return a note that mentions public keys (npub or hex) and has *topics* (hashtags)."""
    if not text.strip():
        raise BadRecordError("the note says nothing")
    return Draft(NOTE, (*_people(mentions), *_topics(topics)), text)


def calendar(
    what: str,
    *,
    title: str,
    start: int,
    end: int | None = None,
    zone: str | None = None,
    end_zone: str | None = None,
    identifier: str | None = None,
    location: Sequence[str] = (),
    people: Sequence[str] = (),
    description: str = "",
) -> Draft:
    """Return a calendar event (NIP-52) that is a *what*: `booking` or `shift`.

    *start* and *end* are unix seconds, *end* excluded; zones are IANA names. The identifier of a new one is
    made of title and times.
    """
    if not title.strip():
        raise BadRecordError(f"the {what} has no title")
    if end is not None and not start < end <= start + _LONGEST:
        raise BadRecordError(f"the {what} must end after it starts, and within a year")
    if start < 0:
        raise BadRecordError(f"the {what} starts before 1970")
    name = (
        identifier
        or sha256(f"{what}\0{title}\0{start}\0{end}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    )
    last = start if end is None else end - 1
    tags: list[tuple[str, ...]] = [("d", name), ("title", title), ("start", str(start))]
    tags += [] if end is None else [("end", str(end))]
    tags += [("D", str(day)) for day in range(start // _DAY, last // _DAY + 1)]
    tags += [("start_tzid", zone)] if zone else []
    tags += [("end_tzid", end_zone or zone or "")] if end is not None and (zone or end_zone) else []
    tags += [("location", place) for place in location]
    return Draft(CALENDAR, (*tags, *_people(people, role=_ROLES[what]), ("t", what)), description)


_ROLES = {"booking": "participant", "shift": "worker"}


def reward(
    amount: str,
    unit: str,
    *,
    to: str | None = None,
    identifier: str | None = None,
    reason: str = "",
    tracked: dict[str, object] | None = None,
) -> Draft:
    """Return a reward of *amount* *unit*, *to* a public key (npub or hex).

    *tracked* tells the hours it was counted from: period, seconds and rate. Such a reward has an identifier
    of its period and recipient, so that a later count replaces it.
    """
    tags: list[tuple[str, ...]] = [("d", REWARD if identifier is None else f"{REWARD}:{identifier}")]
    tags += _people([to]) if to else []
    tags.append(("amount", amount, unit))
    content: dict[str, object] = {"amount": amount, "unit": unit}
    if reason:
        content["reason"] = reason
    if tracked is not None:
        tags.append(TRACKED)
        content |= tracked
    return Draft(APP_DATA, tuple(tags), encode_json(content))


def is_tracked(event: Event) -> bool:
    """Return whether *event* is a reward that was counted from tracked time."""
    name = event.tag("d") or ""
    return event.kind == APP_DATA and name.split(":")[:2] == REWARD.split(":") and TRACKED in event.tags


def membership(
    status: str,
    *,
    member: str | None = None,
    role: str | None = None,
    since: int | None = None,
    until: int | None = None,
) -> Draft:
    """Return that the author, or *member* (npub or hex), is one or not; times are unix seconds."""
    if not status.strip():
        raise BadRecordError("the membership has no status", hint="such as active or ended")
    people = _people([member]) if member else ()
    name = MEMBERSHIP if not people else f"{MEMBERSHIP}:{people[0][1]}"
    values: dict[str, object] = {"status": status, "role": role, "since": since, "until": until}
    content = {key: value for key, value in values.items() if value is not None}
    return Draft(APP_DATA, (("d", name), *people, ("status", status)), encode_json(content))


def relays(*, both: Sequence[str] = (), read: Sequence[str] = (), write: Sequence[str] = ()) -> Draft:
    """Return the relays where the author writes, and reads what names them (NIP-65)."""
    tags: list[tuple[str, ...]] = [("r", url) for url in both]
    tags += [("r", url, "read") for url in read] + [("r", url, "write") for url in write]
    if not tags:
        raise BadRecordError("the relay list names no relay")
    return Draft(RELAYS, tuple(dict.fromkeys(tags)), "")


def inbox(urls: Sequence[str]) -> Draft:
    """Return the relays where the author looks for gift wraps (NIP-17)."""
    if not urls:
        raise BadRecordError("the list of inbox relays names none")
    return Draft(INBOX, tuple(("relay", url) for url in dict.fromkeys(urls)), "")


def servers(urls: Sequence[str]) -> Draft:
    """Return the author's Blossom servers, the most trusted one first (BUD-03)."""
    if not urls:
        raise BadRecordError("the list of Blossom servers names none")
    return Draft(SERVERS, tuple(("server", url) for url in dict.fromkeys(urls)), "")


def deletion(targets: Sequence[str], author: str, *, kinds: Sequence[int] = (), reason: str = "") -> Draft:
    """Return the wish of *author* that what *targets* name be deleted: event ids, or addresses KIND:PUBKEY:D.

    *kinds* are those of the ids; addresses tell theirs. Raises: BadRecordError, also for what is another's.
    """
    if not targets:
        raise BadRecordError("there is nothing to delete", hint="give ids or addresses of events")
    tags: list[tuple[str, ...]] = []
    found = [str(kind) for kind in kinds]
    for target in dict.fromkeys(targets):
        address = _ADDRESS.fullmatch(target)
        if _is_hex64(target):
            tags.append(("e", target))
        elif address is None or int(address[1]) > 65535:
            raise BadRecordError(
                f"'{target[:80]}' names no event", hint="give its id in hex, or KIND:PUBKEY:IDENTIFIER"
            )
        elif address[2] != author:
            raise BadRecordError("an event of somebody else cannot be deleted", hint="only its author can")
        else:
            tags.append(("a", target))
            found.append(address[1])
    return Draft(DELETION, (*tags, *(("k", kind) for kind in dict.fromkeys(found))), reason)


def address_of(event: Event | Unsigned) -> str | None:
    """Return the address under which a later *event* replaces an earlier one, None where none does."""
    kind = event.kind
    if kind in (0, 3) or 10_000 <= kind < 20_000:
        return f"{kind}:{event.pubkey}:"
    return f"{kind}:{event.pubkey}:{event.tag('d') or ''}" if 30_000 <= kind < 40_000 else None


def _people(people: Iterable[str], role: str | None = None) -> Tags:
    found = dict.fromkeys(map(parse_pubkey, people))
    return tuple(("p", pubkey) if role is None else ("p", pubkey, "", role) for pubkey in found)


def _topics(topics: Iterable[str]) -> Tags:
    return tuple(("t", topic.lower()) for topic in dict.fromkeys(topics))
