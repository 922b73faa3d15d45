"""The client's side of the relay protocol, without sockets."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_helpers import new_key, signed

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.nips.nip42 import auth_event
from powdo.nips.relay_happenings import (
    Answered,
    Authenticated,
    AuthRefused,
    Challenged,
    Forged,
    Happening,
    Noticed,
    Received,
    SubscriptionRefused,
    Synced,
)
from powdo.nips.relay_messages import encode, parse_client_message, prefix
from powdo.nips.relay_paging import MARGIN, History, since_after
from powdo.nips.relay_session import RelaySession

KEY = new_key()
NOW = int(time.time())


def sent(session: RelaySession) -> list[list[Any]]:
    """Return what the session wants to send now."""
    return [json.loads(message) for message in session.outgoing()]


def tell(session: RelaySession, *parts: Any) -> list[Happening]:
    """Let the relay say something."""
    return session.receive(json.dumps(parts))


def answer_challenge(session: RelaySession, challenge: str) -> Event:
    """Sign the challenge and return the AUTH event."""
    event = auth_event(challenge, "wss://relay.example", KEY, NOW, secrets.token_bytes(32))
    session.authenticate(event)
    return event


def test_an_ok_answers_one_event() -> None:
    """OK true and any `duplicate:` are success; other refusals are passed on; a second OK means nothing."""
    session = RelaySession()
    for accepted, message, success in (
        (True, "", True),
        (False, "duplicate: have it", True),
        (False, "blocked: go away", False),
        (False, "whatever", False),
    ):
        event = signed(KEY, content=message)
        session.publish(event)
        assert sent(session) == [["EVENT", event.to_json()]]
        assert tell(session, "OK", "0" * 64, True, "") == []
        assert tell(session, "OK", event.id, accepted, message) == [Answered(event.id, success, message)]
        assert tell(session, "OK", event.id, True, "") == []


@pytest.mark.parametrize("challenge_first", [True, False])
def test_auth_required_is_answered_and_the_event_repeated_once(challenge_first: bool) -> None:
    """The challenge is answered only when the relay insists, then the event goes once more."""
    session, event = RelaySession(), signed(KEY)
    session.publish(event)
    sent(session)
    if challenge_first:
        assert tell(session, "AUTH", "abc") == []
        assert tell(session, "OK", event.id, False, "auth-required: who?") == [Challenged("abc")]
    else:
        assert tell(session, "OK", event.id, False, "auth-required: who?") == []
        assert tell(session, "AUTH", "abc") == [Challenged("abc")]
    auth = answer_challenge(session, "abc")
    assert sent(session) == [["AUTH", auth.to_json()]]
    assert tell(session, "OK", auth.id, True, "") == [Authenticated()]
    assert sent(session) == [["EVENT", event.to_json()]]
    refusal = tell(session, "OK", event.id, False, "auth-required: again")
    assert refusal == [Answered(event.id, False, "auth-required: again")]
    assert sent(session) == []


def test_a_refused_or_declined_authentication_ends_what_waits() -> None:
    """When AUTH is refused, or we do not answer, the waiting event is answered with the reason."""
    session, event = RelaySession(), signed(KEY)
    session.publish(event)
    tell(session, "AUTH", "abc")
    tell(session, "OK", event.id, False, "auth-required: who?")
    auth = answer_challenge(session, "abc")
    assert tell(session, "OK", auth.id, False, "restricted: not you") == [
        AuthRefused("restricted: not you"),
        Answered(event.id, False, "restricted: not you"),
    ]
    session = RelaySession()
    session.publish(event)
    tell(session, "AUTH", "abc")
    assert tell(session, "OK", event.id, False, "auth-required: who?") == [Challenged("abc")]
    assert session.decline("we are shy") == [Answered(event.id, False, "auth-required: we are shy")]
    session.publish(event)
    assert tell(session, "OK", event.id, False, "auth-required: who?") == [
        Answered(event.id, False, "auth-required: who?")
    ]


class PagingRelay:
    """A relay without sockets: serves stored events newest first, at most *page* at a time."""

    def __init__(self, session: RelaySession, stored: list[Event], page: int) -> None:
        self.session = session
        self.stored = sorted(stored, key=lambda event: (-event.created_at, event.id))
        self.page = page
        self.open: dict[str, Filter] = {}
        self.requests = 0

    def run(self, live: list[Event] | None = None) -> list[Happening]:
        """Serve until the session has nothing to say; push a *live* event into each page."""
        happenings: list[Happening] = []
        waiting = list(live or [])
        while messages := sent(self.session):
            for message in messages:
                if message[0] == "CLOSE":
                    self.open.pop(message[1], None)
                if message[0] != "REQ":
                    continue
                self.requests += 1
                asked = Filter.from_json(message[2])
                self.open[message[1]] = asked
                limit = min(self.page, asked.limit or self.page)
                found = [event for event in self.stored if asked.matches(event)][:limit]
                for event in found[: len(found) // 2]:
                    happenings += tell(self.session, "EVENT", message[1], event.to_json())
                if waiting and asked.limit != 1:
                    happenings += self.push(waiting.pop())
                for event in found[len(found) // 2 :]:
                    happenings += tell(self.session, "EVENT", message[1], event.to_json())
                happenings += tell(self.session, "EOSE", message[1])
        return happenings

    def push(self, event: Event) -> list[Happening]:
        """Store an event and send it to every open request, the newest request first."""
        self.stored.append(event)
        happenings: list[Happening] = []
        for name, asked in reversed(list(self.open.items())):
            if asked.matches(event):
                happenings += tell(self.session, "EVENT", name, event.to_json())
        return happenings


@pytest.mark.parametrize("page", [1, 2, 3, 7, 100])
def test_paging_finds_every_old_event_once(page: int) -> None:
    """All stored events come, whatever the relay's page, also when a page ends within a second."""
    stored = [signed(KEY, content=str(n), created_at=NOW - n // max(1, min(3, page - 1))) for n in range(20)]
    session = RelaySession()
    session.subscribe("k", Filter(kinds=(1,)))
    happenings = PagingRelay(session, stored, page).run()
    received = {item.event.id for item in happenings if isinstance(item, Received)}
    assert received == {event.id for event in stored}
    assert [item for item in happenings if isinstance(item, Synced)] == [Synced("k")]
    assert happenings[-1] == Synced("k")


def test_a_live_event_dated_long_ago_makes_no_hole() -> None:
    """Back-dated events that arrive live within pages do not make the reader skip what lies between."""
    stored = [signed(KEY, content=str(n), created_at=NOW - n) for n in range(30)]
    live = [signed(KEY, content=f"live {n}", created_at=NOW - 1000 - n) for n in range(3)]
    session = RelaySession()
    session.subscribe("k", Filter(kinds=(1,)))
    happenings = PagingRelay(session, stored, 5).run(live)
    received = {item.event.id for item in happenings if isinstance(item, Received)}
    assert received == {event.id for event in (*stored, *live)}


def test_the_history_is_asked_from_since_on() -> None:
    """Every request carries `since`, and paging ends there."""
    session = RelaySession()
    session.subscribe("k", Filter(kinds=(1,), since=NOW - 3))
    relay = PagingRelay(session, [signed(KEY, content=str(n), created_at=NOW - n) for n in range(9)], 2)
    happenings = relay.run()
    assert len({item.event.id for item in happenings if isinstance(item, Received)}) == 4
    assert Synced("k") in happenings


def test_an_eager_session_authenticates_and_asks_again() -> None:
    """What was asked before AUTH is asked again after it, and an EOSE from before does not count."""
    session = RelaySession(eager=True)
    session.subscribe("k", Filter(kinds=(1059,)))
    ((_, first, _),) = sent(session)
    assert tell(session, "AUTH", "abc") == [Challenged("abc")]
    auth = answer_challenge(session, "abc")
    assert tell(session, "CLOSED", first, "auth-required: who?") == []
    assert [message[0] for message in sent(session)] == ["AUTH"]
    assert tell(session, "OK", auth.id, True, "") == [Authenticated()]
    ((verb, second, _),) = sent(session)
    assert verb == "REQ"
    assert second != first
    assert tell(session, "EOSE", first) == []
    assert tell(session, "EOSE", second) == []
    ((_, page, _),) = sent(session)
    assert tell(session, "EOSE", page) == [Synced("k")]
    assert tell(session, "CLOSED", second, "error: tired") == [SubscriptionRefused("k", "error: tired")]


def test_events_that_fail_a_check_are_left_out() -> None:
    """A forged, unasked or malformed event is reported; events of unknown subscriptions are ignored."""
    session = RelaySession()
    session.subscribe("k", Filter(kinds=(1,), since=NOW - 5))
    ((_, name, _),) = sent(session)
    good = signed(KEY)
    forgeries = [
        {**good.to_json(), "content": "changed"},
        {**good.to_json(), "sig": "0" * 128},
        signed(KEY, 2).to_json(),
        signed(KEY, created_at=NOW - 6).to_json(),
        {**good.to_json(), "kind": "1"},
        {},
        None,
    ]
    for forged in forgeries:
        (happening,) = tell(session, "EVENT", name, forged)
        assert isinstance(happening, Forged)
    assert tell(session, "EVENT", "other", good.to_json()) == []
    assert tell(session, "EVENT", name, good.to_json()) == [Received("k", good)]
    assert tell(session, "NOTICE", "hello") == [Noticed("hello")]
    assert tell(session, "PIZZA", 1) == []


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
verbs = st.sampled_from(["EVENT", "OK", "EOSE", "CLOSED", "NOTICE", "AUTH", "COUNT", "REQ", "CLOSE", ""])


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                lambda verb, rest: json.dumps([verb, *rest]).encode(), verbs, st.lists(junk, max_size=4)
            ),
            junk.map(lambda value: json.dumps(value).encode()),
        ),
        max_size=6,
    )
)
def test_no_message_breaks_the_session(messages: list[bytes]) -> None:
    """Whatever a relay sends is understood, ignored, or refused as nonsense, and nothing else."""
    session = RelaySession(eager=True)
    session.subscribe("k", Filter())
    session.publish(signed(KEY))
    for message in messages:
        with contextlib.suppress(PeerProtocolError):
            session.receive(message)
        with contextlib.suppress(PeerProtocolError):
            parse_client_message(message)
    for message in session.outgoing():
        json.loads(message)


@pytest.mark.parametrize(
    "text", ["", "[", "{}", "[]", "[1]", '["OK"]', '["OK","x","y"]', '["EOSE"]', "\ud800", "[" * 9999]
)
def test_nonsense_is_the_peers_fault(text: str) -> None:
    """A message that is none is a PeerProtocolError."""
    with pytest.raises(PeerProtocolError):
        RelaySession().receive(text)


def test_prefixes_and_since() -> None:
    """Only known prefixes count; a listener goes back by back-dating, spooling and skew together."""
    assert prefix("rate-limited: slow down") == "rate-limited"
    assert prefix("ERROR: auth-required: requested filter requires authentication") == "auth-required"
    assert prefix("ERROR: bad req: nothing") == ""
    assert prefix("note: nothing") == ""
    assert prefix("") == ""
    assert since_after(None) is None
    assert since_after(NOW) == NOW - MARGIN == NOW - 260_100
    assert since_after(5) == 0
    assert History(Filter(limit=3)).request().limit == 500
    assert encode("EVENT", {"a": "ä"}).decode() == '["EVENT",{"a":"ä"}]'
