"""The wire of a service that mines for others: messages, terms, and the sessions at both ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import PeerProtocolError
from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned, sign
from powdo.nips.nip42 import auth_event
from powdo.nips.pow import difficulty
from powdo.nips.pow_client import Challenged, CheatError, Mined, PowClientSession, Refused
from powdo.nips.pow_messages import (
    complete,
    insufficient,
    out_of_range,
    parse_ask,
    parse_funds,
    parse_range,
    problem_with,
)
from powdo.nips.pow_search import Search, Slice
from powdo.nips.pow_session import PowSession
from powdo.nips.pow_terms import UNIT, Terms, partial_fee, satoshis

KEY = SecretKey(b"\x05" * 32)
NOW = 1_795_000_000
ASKED = Unsigned(KEY.pubkey, NOW, 1, (("t", "x"),), "hello")


def mined(event: Unsigned = ASKED, target: int = 6) -> Unsigned:
    """Return *event* with proof of work, found the slow way."""
    search = Search(event, target, 1)
    template, first = search.work()
    for nonce in range(first * 10_000, first * 10_000 + 10_000):
        try:
            template.mined(nonce)
        except ValueError:
            continue
        found = search.took(Slice(1, 1, nonce))
        assert found is not None
        return found
    raise AssertionError("ten thousand nonces have six bits somewhere")


def test_notices_are_those_of_the_draft() -> None:
    """Range and funds are worded to the letter; "sufficient", the draft's own slip, is read as well."""
    assert out_of_range(8, 28) == "restricted: target difficulty must be between 8 and 28"
    text = insufficient(1999, 2001)
    assert text == "restricted: insufficient funds. current balance: 1 sat. service fee: 3 sat"
    slip = text.replace("insufficient", "sufficient")
    assert parse_funds(text) == parse_funds(slip) == (1, 3)
    assert parse_funds(out_of_range(1, 2)) is None
    assert parse_range(out_of_range(8, 28)) == (8, 28)
    assert parse_range(text) is None


def test_a_question_is_read_in_both_orders() -> None:
    """Types tell event and target apart; what is minimal lacks author and date."""
    minimal = {"kind": 1, "tags": [], "content": "x"}
    for value in (["POW", minimal, 9], ["POW", 9, minimal]):
        ask = parse_ask(value)
        assert (ask.target, ask.pubkey, ask.created_at) == (9, None, None)
        assert complete(ask, KEY.pubkey, NOW) == Unsigned(KEY.pubkey, NOW, 1, (), "x")
        with pytest.raises(PeerProtocolError, match="no pubkey"):
            complete(ask, None, NOW)
    signed = sign(ASKED, KEY, b"\0" * 32).to_json()
    assert complete(parse_ask(["POW", signed, 9]), None, NOW) == ASKED
    assert complete(parse_ask(["POW", signed | {"sig": "", "id": ""}, 9]), None, NOW) == ASKED
    for wrong in ({"sig": "0" * 128}, {"content": "other"}, {"sig": "", "id": "0" * 64}):
        with pytest.raises(PeerProtocolError, match=r"^invalid: "):
            parse_ask(["POW", signed | wrong, 9])


@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.dictionaries(st.text(), st.integers())
    )
)
def test_any_other_question_is_nonsense(rest: list[Any]) -> None:
    """Whatever else is asked is refused as invalid, and nothing else is raised."""
    with pytest.raises(PeerProtocolError, match=r"^invalid: "):
        parse_ask(["POW", *rest])


@given(st.integers(0, 40), st.integers(1, 2000), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_fee_follows_the_work(target: int, blocks: int, base: int, rate: int) -> None:
    """Base and rate times work, rounded up; a bit more is never cheaper, nor is a block."""
    terms = Terms(base=base, rate=rate)
    fee = terms.fee(target, blocks)
    assert fee - 1 < base + rate * 2**target * blocks / UNIT <= fee or (rate == 0 and fee == base)
    assert terms.fee(target + 1, blocks) >= fee <= terms.fee(target, blocks + 1)
    assert 0 <= partial_fee(fee, target, 0) == 0 <= partial_fee(fee, target, 5) <= fee
    assert partial_fee(fee, target, 2**target) == fee == partial_fee(fee, target, 2**60)


def test_the_highest_target_keeps_within_the_time() -> None:
    """What is the highest takes no longer than the cap on average, and one bit more does."""
    terms = Terms(max_target=60, max_seconds=10, speed=1e8)
    for blocks in (1, 4, 39, 1023):
        highest = terms.highest(blocks)
        assert terms.seconds(highest, blocks) <= 10 < terms.seconds(highest + 1, blocks)
        assert terms.limit(highest, blocks) >= 5 * terms.seconds(highest, blocks)
    assert Terms(max_target=20).highest(4) == 20
    assert (satoshis(1999), satoshis(1001, up=True)) == (1, 2)


# --- the service's session ---


def test_a_session_answers_in_order() -> None:
    """Requests may be settled in any order; what goes out keeps theirs, refusals too."""
    session = PowSession(Terms(min_target=4))
    value: list[object] = ["POW", {"kind": 1, "tags": [], "content": "x"}, 9]
    first = session.ask(value, {KEY.pubkey}, NOW)
    assert session.ask(["POW", {}, 9], {KEY.pubkey}, NOW) is None
    third = session.ask(value, {KEY.pubkey}, NOW)
    assert first is not None and third is not None and session.waiting == 2
    session.answer(third.ticket, ASKED)
    assert session.outgoing() == []
    session.refuse(first.ticket, "no")
    words = [json.loads(message)[0] for message in session.outgoing()]
    assert words == ["NOTICE", "NOTICE", "POW"] and session.outgoing() == []


def test_a_session_knows_who_pays() -> None:
    """The event's author pays if authenticated, else one of those who are; nobody is refused."""
    session = PowSession(Terms(min_target=4))
    other = "0" * 64
    value: list[object] = ["POW", ASKED.to_json(), 9]
    request = session.ask(value, {KEY.pubkey, other}, NOW)
    assert request is not None and request.payer == KEY.pubkey
    request = session.ask(value, {other, "1" * 64}, NOW)
    assert request is not None and request.payer == other and request.event == ASKED
    assert session.ask(value, (), NOW) is None
    assert session.ask(["POW", ASKED._replace(created_at=NOW + 10**6).to_json(), 9], {other}, NOW) is None


# --- the client's session ---


def message(*parts: object) -> str:
    """Return a message of the service."""
    return json.dumps(parts)


def authenticated() -> PowClientSession:
    """Return a session that has asked for six bits, once it was let in."""
    session = PowClientSession()
    session.request(ASKED, 6)
    assert session.outgoing() == []
    assert session.receive(message("AUTH", "c"), NOW) == [Challenged("c")]
    auth = auth_event("c", "wss://pow.example", KEY, NOW, b"\0" * 32)
    session.authenticate(auth)
    assert json.loads(session.outgoing()[0])[0] == "AUTH" and not session.has_asked
    assert session.receive(message("OK", auth.id, True, ""), NOW) == []
    (asked,) = session.outgoing()
    assert json.loads(asked) == ["POW", ASKED.to_json(), 6]
    return session


def test_a_client_authenticates_asks_and_checks() -> None:
    """What it is given it believes when it is the same event, with the bits; then it may ask again."""
    session, found = authenticated(), mined()
    assert session.receive(message("POW", found.to_json()), NOW) == [Mined(found)]
    assert session.receive(message("POW", found.to_json()), NOW) == []
    session.request(ASKED, 6)
    assert len(session.outgoing()) == 1


def test_a_client_takes_notices_for_answers() -> None:
    """Funds in either spelling, ranges, anything else: refused, with what is known of it."""
    for text in (insufficient(1000, 5000), insufficient(1000, 5000).replace("insufficient", "sufficient")):
        assert authenticated().receive(message("NOTICE", text), NOW) == [Refused(text, (1, 5))]
    assert authenticated().receive(message("NOTICE", "error: x"), NOW) == [Refused("error: x")]
    session = PowClientSession()
    assert session.receive(message("NOTICE", "welcome"), NOW) == []
    session = authenticated()
    assert session.receive(message("NOTICE", "auth-required: again"), NOW) == [Challenged("c")]


def test_a_client_is_let_in_by_services_that_answer_auth_with_a_notice() -> None:
    """The first service there was says `Authorised: …` instead of OK."""
    session = PowClientSession()
    session.request(ASKED, 6)
    session.receive(message("AUTH", "c"), NOW)
    session.authenticate(auth_event("c", "wss://pow.example", KEY, NOW, b"\0" * 32))
    session.outgoing()
    assert session.receive(message("NOTICE", f"Authorised: {KEY.pubkey}"), NOW) == []
    assert json.loads(session.outgoing()[0])[0] == "POW"
    session = PowClientSession()
    session.authenticate(auth := auth_event("c", "wss://pow.example", KEY, NOW, b"\0" * 32))
    (refused,) = session.receive(message("OK", auth.id, False, "invalid: no"), NOW)
    assert refused == Refused("auth-required: invalid: no")


def lucky(event: Unsigned, last: Callable[[int], tuple[str, ...]]) -> Unsigned:
    """Return *event* with the first of the tags *last* in its nonce's place that gives six bits."""
    tries = (event._replace(tags=(*event.tags[:-1], last(number))) for number in range(10_000))
    return next(one for one in tries if difficulty(one.id) >= 6)


def cheats() -> dict[str, dict[str, Any]]:
    """Return what a service may try."""
    good = mined()
    other = mined(ASKED._replace(content="buy this"))
    low = mined(target=5)
    extra = mined(ASKED._replace(tags=(("t", "x"), ("p", KEY.pubkey))))
    nonces = good.tags[-1]
    twice = Unsigned(good.pubkey, good.created_at, 1, (nonces, *good.tags), good.content)
    advert = lucky(good, lambda number: ("nonce", f"buy this {number}", "6"))
    longer = lucky(good, lambda number: ("nonce", str(number), "6", "buy this"))
    return {
        "words for a nonce": advert.to_json(),
        "words behind a nonce": longer.to_json(),
        "another event": other.to_json(),
        "another author": good._replace(pubkey="0" * 64).to_json(),
        "more tags": extra.to_json(),
        "another order": good._replace(tags=good.tags[::-1]).to_json(),
        "two nonces": twice.to_json(),
        "a target that is too low": low.to_json(),
        "a wrong id": good.to_json() | {"id": "0" * 64},
        "no id": {name: value for name, value in good.to_json().items() if name != "id"},
        "the date of the event of another day": mined(ASKED._replace(created_at=NOW - 10**6)).to_json(),
        "a date in the future": mined(ASKED._replace(created_at=NOW + 10**6)).to_json(),
        "the event as it was": ASKED.to_json(),
        "nothing": {},
    }


@pytest.mark.parametrize("cheat", sorted(cheats()))
def test_a_client_is_not_cheated(cheat: str) -> None:
    """Whatever differs from what was asked but nonce and date is found out."""
    with pytest.raises(CheatError):
        authenticated().receive(message("POW", cheats()[cheat]), NOW)


def test_dates_may_be_fresh() -> None:
    """A service may date the event anew while it mines, also one that was dated back."""
    old = ASKED._replace(created_at=NOW - 86400)
    fresh = mined(old._replace(created_at=NOW - 5))
    assert problem_with(fresh.to_json(), old, 6, NOW) is None


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: json.dumps(["POW", text]).encode()))
def test_babble_is_no_answer(data: bytes) -> None:
    """What is no message is nonsense, and what is another message is let pass."""
    try:
        assert authenticated().receive(data, NOW) == []
    except PeerProtocolError:
        return
