"""Conformance as a table: what is there after some events were published (NIP-01, 09, 40, 59, 70).

A story's keys are its own, so that all stories are told to one relay. Its events are dated `at` seconds
after a day ago; `{x}` in a tag is the id of event x, `{ann}` and `{bob}` are public keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import pytest
from relay_helpers import client, new_key, relay_thread, signed

from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.nips.relay_messages import prefix
from powdo.servers.relay.policy import Policy

DAY_AGO = int(time.time()) - 86400


class E(NamedTuple):
    """An event; *says* is the prefix of OK, None: it is not published yet; *half*: its id is low or high."""

    name: str
    kind: int = 1
    tags: str = ""
    at: int = 0
    by: str = "ann"
    says: str | None = ""
    half: str = ""


class Send(NamedTuple):
    """An event that was made before is published, again or at last."""

    name: str
    says: str


Story = tuple[str, str, list[E | Send], str]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a relay that lets everybody write."""
    with relay_thread(tmp_path_factory.mktemp("relay"), Policy(allowed=(), open=True)) as address:
        yield address


OLD, NEW, NEWER = 10, 20, 30
REPLACED, DELETED, DUPLICATE = "replaced", "blocked", "duplicate"
LIST, PAGE = 10002, 30078

KINDS: list[Story] = [
    ("01", "regular events stay side by side", [E("a", at=1), E("b", at=2), E("c", 7), E("d", 1111)], "abcd"),
    ("01", "a duplicate is OK", [E("a"), Send("a", DUPLICATE)], "a"),
    ("01", "kind 0 is replaced", [E("a", 0, at=OLD), E("b", 0, at=NEW)], "b"),
    ("01", "kind 3 is replaced", [E("a", 3, at=OLD), E("b", 3, at=NEW)], "b"),
    ("01", "kind 10000 is replaced", [E("a", 10000, at=OLD), E("b", 10000, at=NEW)], "b"),
    ("01", "kind 19999 is replaced", [E("a", 19999, at=OLD), E("b", 19999, at=NEW)], "b"),
    ("01", "kind 9999 is regular", [E("a", 9999, at=OLD), E("b", 9999, at=NEW)], "ab"),
    ("01", "kind 40000 is regular", [E("a", 40000, "d=x", OLD), E("b", 40000, "d=x", NEW)], "ab"),
    ("01", "an older one comes too late", [E("a", LIST, at=NEW), E("b", LIST, at=OLD, says=REPLACED)], "a"),
    (
        "01",
        "what was replaced does not come back",
        [E("a", LIST, at=OLD), E("b", LIST, at=NEW), Send("a", REPLACED)],
        "b",
    ),
    ("01", "of one second the lower id stays", [E("a", 0, half="high"), E("b", 0, half="low")], "b"),
    (
        "01",
        "of one second the higher id is refused",
        [E("a", 0, half="low"), E("b", 0, half="high", says=REPLACED)],
        "a",
    ),
    ("01", "kinds are replaced apart", [E("a", 0, at=OLD), E("b", 3, at=NEW)], "ab"),
    ("01", "authors are replaced apart", [E("a", 0, at=OLD), E("b", 0, at=NEW, by="bob")], "ab"),
    ("01", "an address is replaced", [E("a", PAGE, "d=x", OLD), E("b", PAGE, "d=x", NEW)], "b"),
    ("01", "addresses are replaced apart", [E("a", PAGE, "d=x", OLD), E("b", PAGE, "d=y", NEW)], "ab"),
    (
        "01",
        "an older version of an address",
        [E("a", PAGE, "d=x", NEW), E("b", PAGE, "d=x", OLD, says=REPLACED)],
        "a",
    ),
    ("01", "no d is an empty d", [E("a", PAGE, "", OLD), E("b", PAGE, "d=", NEW)], "b"),
    ("01", "the first d counts", [E("a", PAGE, "d=x d=y", OLD), E("b", PAGE, "d=y", NEW)], "ab"),
    (
        "01",
        "kinds 30000 and 39999",
        [E("a", 30000, at=1), E("b", 30000, at=2), E("c", 39999), E("d", 39999, at=1)],
        "bd",
    ),
    ("01", "ephemeral kinds are not kept", [E("a", 20000), E("b", 29999), E("c", 21059, "p={ann}")], ""),
    ("01", "an ephemeral event is no duplicate", [E("a", 20001), Send("a", "")], ""),
    ("40", "an expired event", [E("a", 1, "expiration=1700000000", says="invalid")], ""),
    (
        "40",
        "an expired replacement leaves the old",
        [E("a", 0, at=1), E("b", 0, "expiration=1", 2, says="invalid")],
        "a",
    ),
    ("40", "an expiration to come", [E("a", 1, "expiration=4000000000")], "a"),
    ("70", "a protected event of one who is authenticated", [E("a", 1, "-")], "a"),
    ("70", "a protected event of another", [E("a", 1, "-", by="eve", says="restricted")], ""),
    (
        "70",
        "a protected wrap is of its one-time key",
        [E("a", 1059, "p={ann} -", by="eve", says="restricted")],
        "",
    ),
]
DELETIONS: list[Story] = [
    ("09", "by id; the request stays", [E("a"), E("x", 5, "e={a} k=1")], "x"),
    ("09", "several at once", [E("a"), E("b", 7), E("c"), E("x", 5, "e={a} e={b}")], "cx"),
    ("09", "an older request deletes by id too", [E("a", at=NEW), E("x", 5, "e={a}", OLD)], "x"),
    ("09", "a wrong k changes nothing", [E("a"), E("x", 5, "e={a} k=9999")], "x"),
    ("09", "a request that names nothing known", [E("a"), E("x", 5, f"e={'0' * 64} e=junk e= a=junk")], "ax"),
    ("09", "a request without tags", [E("a"), E("x", 5)], "ax"),
    ("09", "what is deleted does not come back", [E("a"), E("x", 5, "e={a}"), Send("a", DELETED)], "x"),
    (
        "09",
        "the request comes first",
        [E("a", says=None), E("x", 5, "e={a}"), Send("a", DELETED), Send("x", DUPLICATE)],
        "x",
    ),
    ("09", "another's event", [E("a"), E("x", 5, "e={a}", by="bob")], "ax"),
    (
        "09",
        "another's request does not keep it out",
        [E("a", says=None), E("x", 5, "e={a}", by="bob"), Send("a", "")],
        "ax",
    ),
    ("09", "its author after another", [E("a"), E("x", 5, "e={a}", by="bob"), E("y", 5, "e={a}")], "xy"),
    (
        "09",
        "a request cannot be deleted",
        [E("a"), E("x", 5, "e={a}"), E("y", 5, "e={x} k=5"), Send("a", DELETED)],
        "xy",
    ),
    ("09", "an address", [E("a", PAGE, "d=x", OLD), E("x", 5, "a=30078:{ann}:x", NEW)], "x"),
    (
        "09",
        "an address at its very second",
        [E("a", PAGE, "d=x", NEW), E("x", 5, "a=30078:{ann}:x", NEW)],
        "x",
    ),
    (
        "09",
        "a newer version than the request",
        [E("a", PAGE, "d=x", NEWER), E("x", 5, "a=30078:{ann}:x", NEW)],
        "ax",
    ),
    ("09", "another d", [E("a", PAGE, "d=y", OLD), E("x", 5, "a=30078:{ann}:x", NEW)], "ax"),
    ("09", "a d with colons", [E("a", PAGE, "d=x:y:", OLD), E("x", 5, "a=30078:{ann}:x:y:", NEW)], "x"),
    ("09", "an empty d", [E("a", PAGE, "", OLD), E("x", 5, "a=30078:{ann}:", NEW)], "x"),
    ("09", "a replaceable kind", [E("a", 0, "", OLD), E("b", 3), E("x", 5, "a=0:{ann}:", NEW)], "bx"),
    ("09", "another's address", [E("a", PAGE, "d=x", OLD), E("x", 5, "a=30078:{ann}:x", NEW, "bob")], "ax"),
    ("09", "a regular kind has no address", [E("a", 1, "d=x"), E("x", 5, "a=1:{ann}:x", NEW)], "ax"),
    (
        "09",
        "an older version after the request",
        [E("x", 5, "a=30078:{ann}:x", NEW), E("a", PAGE, "d=x", OLD, says=DELETED)],
        "x",
    ),
    (
        "09",
        "a version of its very second after the request",
        [E("x", 5, "a=30078:{ann}:x", NEW), E("a", PAGE, "d=x", NEW, says=DELETED)],
        "x",
    ),
    ("09", "a newer version after it", [E("x", 5, "a=30078:{ann}:x", NEW), E("a", PAGE, "d=x", NEWER)], "ax"),
    (
        "09",
        "a version deleted by id, then a newer one",
        [E("a", 0, at=OLD), E("x", 5, "e={a}"), E("b", 0, at=NEW), Send("a", DELETED)],
        "bx",
    ),
    ("59", "a wrap by its recipient", [E("a", 1059, "p={ann}", by="eve"), E("x", 5, "e={a} k=1059")], "x"),
    (
        "59",
        "a wrap by its one-time key",
        [E("a", 1059, "p={ann}", by="eve"), E("x", 5, "e={a}", by="eve")],
        "x",
    ),
    (
        "59",
        "a wrap by somebody else",
        [E("a", 1059, "p={ann}", by="eve"), E("x", 5, "e={a}", by="bob")],
        "ax",
    ),
    (
        "59",
        "a wrap its recipient deleted does not come back",
        [E("a", 1059, "p={ann}", by="eve"), E("x", 5, "e={a}"), Send("a", DELETED)],
        "x",
    ),
    ("59", "who is merely named deletes nothing", [E("a", 1, "p={bob}"), E("x", 5, "e={a}", by="bob")], "ax"),
]
STORIES = [*KINDS, *DELETIONS]


def made(item: E, keys: dict[str, SecretKey], events: dict[str, Event]) -> Event:
    """Return the event *item* describes."""
    words = {name: key.pubkey for name, key in keys.items()} | {name: e.id for name, e in events.items()}
    tags = []
    for word in item.tags.split():
        name, equals, value = word.partition("=")
        tags.append((name, value.format_map(words)) if equals else (name,))
    for number in count():
        text = f"{item.name} {number}"
        event = signed(keys[item.by], item.kind, tuple(tags), text, created_at=DAY_AGO + item.at)
        if item.half in ("", "low" if event.id[0] in "01234567" else "high"):
            return event
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("steps", "left"), [row[2:] for row in STORIES], ids=[f"{r[0]}: {r[1]}" for r in STORIES]
)
def test_what_is_left(url: str, steps: list[E | Send], left: str) -> None:
    """Each event is answered as the story says, and at its end these events are served, and no other."""
    keys = {name: new_key() for name in ("ann", "bob", "eve")}

    async def main() -> None:
        events: dict[str, Event] = {}
        async with client(url, keys["ann"]) as writer:
            assert await writer.authenticate(keys["bob"]) == (True, "")
            for step in steps:
                if isinstance(step, E):
                    events[step.name] = made(step, keys, events)
                if step.says is not None:
                    accepted, message = await writer.publish(events[step.name])
                    assert (step.name, prefix(message)) == (step.name, step.says)
                    assert accepted == (step.says in ("", DUPLICATE))
            served = await writer.ask({"authors": [key.pubkey for key in keys.values()]})
            assert isinstance(served, list)
            assert sorted(event["id"] for event in served) == sorted(events[name].id for name in left)
            assert all(event in served for event in (events[name].to_json() for name in left))

    asyncio.run(main())
