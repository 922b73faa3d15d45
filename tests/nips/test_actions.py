"""Actions of users as events: what each standard requires, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.nips import actions
from powdo.nips.bech32 import encode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign

_ANA, _BOB = SecretKey(b"\x02" * 32).pubkey, SecretKey(b"\x03" * 32).pubkey
_NINE = 1_796_112_000  # 2026-12-01T08:00:00Z


def test_a_profile_says_what_is_given() -> None:
    """Kind 0, whose content is an object of the fields that are given (NIP-01)."""
    draft = actions.profile(name="Ana ♥", about=None, picture="https://a.example/p.png")
    assert draft[:2] == (0, ())
    assert json.loads(draft.content) == {"name": "Ana ♥", "picture": "https://a.example/p.png"}
    with pytest.raises(BadRecordError, match="says nothing"):
        actions.profile(name=None)


def test_a_note_mentions_and_has_topics() -> None:
    """Kind 1 with p tags in hex, each once, and t tags in lower case (NIP-24)."""
    draft = actions.note("hi", mentions=[encode_npub(_ANA), _ANA], topics=["Café"])
    assert draft == (1, (("p", _ANA), ("t", "café")), "hi")
    with pytest.raises(BadRecordError, match="says nothing"):
        actions.note(" ")


def test_a_calendar_event_has_what_nip_52_requires() -> None:
    """Kind 31923 with d, title, start, a D for each day, and end, zones, places and people where given."""
    draft = actions.calendar(
        "shift", title="Counter", start=_NINE, end=_NINE + 86400, zone="Europe/Berlin", location=["Hall"],
        people=[_BOB], description="Bring keys",
    )  # fmt: skip
    assert draft.kind == 31923
    assert draft.content == "Bring keys"
    assert draft.tags[1:] == (
        ("title", "Counter"),
        ("start", str(_NINE)),
        ("end", str(_NINE + 86400)),
        ("D", str(_NINE // 86400)),
        ("D", str(_NINE // 86400 + 1)),
        ("start_tzid", "Europe/Berlin"),
        ("end_tzid", "Europe/Berlin"),
        ("location", "Hall"),
        ("p", _BOB, "", "worker"),
        ("t", "shift"),
    )
    name, value = draft.tags[0]
    assert (name, len(value)) == ("d", 16)


def test_the_same_action_has_the_same_identifier() -> None:
    """Title and times make the identifier; another title or time makes another, and a given one counts."""
    first = actions.calendar("booking", title="Room", start=_NINE)
    assert actions.calendar("booking", title="Room", start=_NINE, description="x").tags[0] == first.tags[0]
    for other in (
        actions.calendar("shift", title="Room", start=_NINE),
        actions.calendar("booking", title="Hall", start=_NINE),
        actions.calendar("booking", title="Room", start=_NINE, end=_NINE + 1),
    ):
        assert other.tags[0] != first.tags[0]
    assert actions.calendar("booking", title="R", start=_NINE, identifier="x").tags[0] == ("d", "x")
    assert [tag for tag in first.tags if tag[0] in ("end", "end_tzid", "start_tzid")] == []


@given(st.integers(0, 2**33), st.integers(1, 366 * 86400))
def test_every_day_of_a_calendar_event_has_its_tag(start: int, length: int) -> None:
    """The D tags are exactly the UTC days that hold a second of it."""
    draft = actions.calendar("shift", title="x", start=start, end=start + length)
    days = [int(tag[1]) for tag in draft.tags if tag[0] == "D"]
    assert days == list(range(start // 86400, (start + length - 1) // 86400 + 1))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"title": " ", "start": 5}, "no title"),
        ({"title": "x", "start": 5, "end": 5}, "must end after it starts"),
        ({"title": "x", "start": 5, "end": 4}, "must end after it starts"),
        ({"title": "x", "start": 5, "end": 5 + 367 * 86400}, "within a year"),
        ({"title": "x", "start": -5}, "before 1970"),
    ],
)
def test_a_calendar_event_that_makes_no_sense_is_refused(values: dict, told: str) -> None:
    """It is told what is wrong with it."""
    with pytest.raises(BadRecordError, match=told):
        actions.calendar("booking", **values)


def _signed(draft: actions.Draft) -> Event:
    key = SecretKey(b"\x02" * 32)
    return sign(draft.by(key.pubkey, 5), key, bytes(32))


def test_a_reward_names_amount_unit_and_recipient() -> None:
    """Kind 30078 with d `chb:reward` (NIP-78); counted from tracked time it is marked as such."""
    draft = actions.reward("5.50", "points", to=encode_npub(_BOB), reason="Night shift")
    assert draft.tags == (("d", "chb:reward"), ("p", _BOB), ("amount", "5.50", "points"))
    assert json.loads(draft.content) == {"amount": "5.50", "unit": "points", "reason": "Night shift"}
    assert not actions.is_tracked(_signed(draft))
    counted = actions.reward("1", "h", to=_BOB, identifier="2026-11", tracked={"seconds": 3600})
    assert counted.tags[0] == ("d", "chb:reward:2026-11")
    assert json.loads(counted.content)["seconds"] == 3600
    assert actions.is_tracked(_signed(counted))
    assert not actions.is_tracked(_signed(counted)._replace(kind=30079))


def test_a_membership_is_of_the_author_or_of_another() -> None:
    """Kind 30078 with d `chb:membership`; of others the identifier tells who."""
    own = actions.membership("active", role="keeper", since=7)
    assert own.tags == (("d", "chb:membership"), ("status", "active"))
    assert json.loads(own.content) == {"status": "active", "role": "keeper", "since": 7}
    other = actions.membership("ended", member=_BOB)
    assert other.tags == (("d", f"chb:membership:{_BOB}"), ("p", _BOB), ("status", "ended"))
    with pytest.raises(BadRecordError, match="no status"):
        actions.membership("")


def test_lists_of_relays_and_servers() -> None:
    """Kinds 10002 (r, read, write), 10050 (relay), 10063 (server), each address once, in order."""
    assert actions.relays(both=["wss://a", "wss://a"], read=["wss://b"], write=["wss://c"]) == (
        10002,
        (("r", "wss://a"), ("r", "wss://b", "read"), ("r", "wss://c", "write")),
        "",
    )
    assert actions.inbox(["wss://a", "wss://a"]) == (10050, (("relay", "wss://a"),), "")
    assert actions.servers(["https://b", "https://a"]) == (
        10063,
        (("server", "https://b"), ("server", "https://a")),
        "",
    )
    for empty in (actions.relays, lambda: actions.inbox([]), lambda: actions.servers([])):
        with pytest.raises(BadRecordError, match="name"):
            empty()


def test_a_deletion_names_own_events_only() -> None:
    """Kind 5 with e or a tags and the kinds (NIP-09); what is no event or another's is refused."""
    address = f"31923:{_ANA}:x:y"
    draft = actions.deletion(["ab" * 32, address, address], _ANA, kinds=[1], reason="mistake")
    assert draft == (5, (("e", "ab" * 32), ("a", address), ("k", "1"), ("k", "31923")), "mistake")
    assert actions.deletion([f"10002:{_ANA}:"], _ANA).tags == (("a", f"10002:{_ANA}:"), ("k", "10002"))
    for target, told in (
        (f"31923:{_BOB}:x", "somebody else"),
        ("AB" * 32, "names no event"),
        ("31923:x", "names no event"),
        (f"70000:{_ANA}:", "names no event"),
    ):
        with pytest.raises(BadRecordError, match=told):
            actions.deletion([target], _ANA)
    with pytest.raises(BadRecordError, match="nothing to delete"):
        actions.deletion([], _ANA)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (0, "0:{}:"),
        (3, "3:{}:"),
        (10002, "10002:{}:"),
        (30078, "30078:{}:x"),
        (1, None),
        (1059, None),
        (20001, None),
    ],
)
def test_what_replaces_itself_has_an_address(kind: int, address: str | None) -> None:
    """Replaceable and addressable kinds have the address of NIP-01, the others none."""
    event = Unsigned(_ANA, 5, kind, (("d", "x"),), "")
    assert actions.address_of(event) == (address.format(_ANA) if address else None)


def test_a_person_that_is_none_is_refused_unseen() -> None:
    """An nsec where an npub is due is not repeated."""
    nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
    with pytest.raises(BadRecordError) as caught:
        actions.reward("1", "h", to=nsec)
    assert nsec not in f"{caught.value.message}{caught.value.hint}"
