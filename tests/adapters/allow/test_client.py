from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from powdo.adapters.allow import Client, Counts, State, flush, reconcile
from powdo.adapters.allow import client as module
from powdo.errors import KeyRejectedError, PeerProtocolError, PowdoError, RefusedError, RetryLaterError
from powdo.nips.bech32 import encode_npub
from tests.allow_relay import SECRET, AdminRelay
from tests.dvm import ANA, BEN, DVM

A, B, D = ANA.pubkey, BEN.pubkey, DVM.pubkey


@pytest.fixture
def relay() -> Iterator[AdminRelay]:
    """Yield a relay whose own settings let D in."""
    with AdminRelay(always=(D,)) as running:
        yield running


@pytest.fixture
def client(relay: AdminRelay) -> Iterator[Client]:
    """Yield a session with it."""
    session = Client(relay.url, SECRET, timeout=5)
    yield session
    session.close()


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Return the state of this side; nothing in it is ever damaged here."""
    return State(tmp_path / "state", pytest.fail)


def test_the_list_is_changed_and_read(relay: AdminRelay, client: Client) -> None:
    """Keys come and go, twice without harm; a sync counts what it changed."""
    for _ in range(2):
        client.add(A)
    assert client.pubkeys() == {A, D}
    for _ in range(2):
        client.remove(A)
    assert client.pubkeys() == relay.pubkeys == {D}
    assert client.sync([A, B]) == Counts(2, 0, 3)
    assert client.sync([B]) == Counts(0, 1, 2)
    assert relay.pubkeys == {B, D}


def test_the_secret_is_asked_for(relay: AdminRelay) -> None:
    """A wrong secret is told as one, and one that is no token never leaves."""
    with pytest.raises(KeyRejectedError, match="rejects the admin secret") as caught:
        Client(relay.url, "wrong", timeout=5).pubkeys()
    assert "wrong" not in f"{caught.value.message} {caught.value.hint}"
    for secret in ("", "two words", "line\nbreak", "naïve"):
        with pytest.raises(KeyRejectedError, match="not one word"):
            Client(relay.url, secret, timeout=5)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, PeerProtocolError),
        (400, RefusedError),
        (401, KeyRejectedError),
        (403, KeyRejectedError),
        (404, PeerProtocolError),
        (405, PeerProtocolError),
        (408, RetryLaterError),
        (409, RefusedError),
        (413, RefusedError),
        (429, RetryLaterError),
        (500, RetryLaterError),
        (503, RetryLaterError),
        (507, RetryLaterError),
    ],
)
def test_a_status_decides(relay: AdminRelay, client: Client, status: int, error: type[PowdoError]) -> None:
    """Every status other than a success is an error of its own kind, whatever is asked."""
    relay.weather = status
    for ask in (client.pubkeys, lambda: client.add(A), lambda: client.remove(A), lambda: client.sync([A])):
        with pytest.raises(error) as caught:
            ask()
        if error is RefusedError:
            assert caught.value.message == f"'{relay.url}' refuses: the weather"


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html>",
        b"[]",
        b"null",
        b'{"pubkeys": null}',
        b'{"pubkeys": ["' + b"A" * 64 + b'"]}',
        b'{"added": "1", "removed": 0, "total": 0}',
        b"\xff" * 100,
    ],
)
def test_who_answers_nonsense_is_no_relay(relay: AdminRelay, client: Client, body: bytes) -> None:
    """An answer that the API does not give is never believed."""
    relay.answer = lambda: web.Response(body=body)
    asks = [client.pubkeys, lambda: client.sync([A])]
    if not body.startswith(b"{"):
        asks += [lambda: client.add(A), lambda: client.remove(A)]  # their answers need not say anything
    for ask in asks:
        with pytest.raises(RetryLaterError) as caught:
            ask()
        assert caught.value.hint is not None
        assert "check url in [allow]" in caught.value.hint


def test_a_removal_that_finds_no_api_is_no_success(relay: AdminRelay, client: Client) -> None:
    """A 404 means that a key is not listed only where the list can be read and does not have it."""
    relay.answer = lambda: web.Response(status=404)
    with pytest.raises(PeerProtocolError, match="status 404"):
        client.remove(A)


def test_an_endless_answer_is_cut(relay: AdminRelay, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than any list needs."""
    monkeypatch.setattr(module, "MAX_ANSWER", 1000)
    relay.answer = lambda: web.Response(body=b" " * 1001)
    with pytest.raises(RetryLaterError, match="more than 1000 bytes"):
        client.pubkeys()


@pytest.mark.parametrize("weather", ["gone", "mute", "silent"])
def test_no_answer_may_come_later(relay: AdminRelay, weather: str) -> None:
    """A connection that breaks off and one that stays silent are worth another attempt."""
    relay.weather = weather  # type: ignore[assignment]  # one of Weather
    with pytest.raises(RetryLaterError, match="cannot reach"):
        Client(relay.url, SECRET, timeout=0.3).pubkeys()


def test_a_relay_that_is_not_there_may_come_later() -> None:
    """A refused connection says why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RetryLaterError, match="connection refused"):
        Client(f"http://127.0.0.1:{port}", SECRET, timeout=5).pubkeys()


# --- the queue -----------------------------------------------------------------------------------


def session(relay: AdminRelay) -> Client:
    """Return a session of a flush's own."""
    return Client(relay.url, SECRET, timeout=5)


def test_nothing_to_tell_asks_nothing(state: State) -> None:
    """With an empty queue no session is even opened."""
    assert flush(state, lambda: pytest.fail("no reason to connect")) == []


def test_a_flush_tells_in_order_and_empties_the_queue(relay: AdminRelay, state: State) -> None:
    """What waits is told as it was asked for, and what one key's earlier change wanted never."""
    state.ask("add", [A, B])
    state.ask("remove", [A])
    assert flush(state, lambda: session(relay)) == []
    assert relay.asked == ["POST /admin/allow", "DELETE /admin/allow", "GET /admin/allow"]
    assert (relay.pubkeys, state.waiting()) == ({B, D}, [])


def test_an_absent_relay_delays_everything_once(relay: AdminRelay, state: State) -> None:
    """One attempt tells that the relay is away; all changes wait then, until they are due or forced."""
    state.ask("add", [A, B])
    relay.weather = "gone"
    (error,) = flush(state, lambda: session(relay))
    assert isinstance(error, RetryLaterError)
    assert len(relay.asked) == 1
    assert [(each.attempts, each.error) for each in state.waiting()] == [(1, error.message)] * 2
    relay.weather = "fine"
    assert flush(state, lambda: session(relay)) == []
    assert relay.pubkeys == {D}
    state.ask("add", [B])  # a new word on a key is due at once
    assert flush(state, lambda: session(relay)) == []
    assert relay.pubkeys == {B, D}
    assert flush(state, lambda: session(relay), everything=True) == []
    assert (relay.pubkeys, state.waiting()) == ({A, B, D}, [])


def test_a_refusal_for_good_leaves_the_queue(relay: AdminRelay, state: State) -> None:
    """The relay's own settings let D in: its removal is told and not tried again; the rest goes on."""
    state.ask("remove", [D])
    state.ask("add", [A])
    (error,) = flush(state, lambda: session(relay))
    assert isinstance(error, RefusedError)
    assert encode_npub(D) in error.message
    assert "settings let this key in" in error.message
    assert (relay.pubkeys, state.waiting()) == ({A, D}, [])


@pytest.mark.parametrize(("status", "exit_status"), [(401, 77), (403, 77), (404, 76), (429, 75), (500, 75)])
def test_what_is_not_about_the_key_stays(
    relay: AdminRelay, state: State, status: int, exit_status: int
) -> None:
    """A wrong secret, a wrong place and a relay in trouble leave the queue as it is."""
    state.ask("add", [A])
    relay.weather = status
    (error,) = flush(state, lambda: session(relay))
    assert error.status == exit_status
    assert [(each.action, each.pubkey) for each in state.waiting()] == [("add", A)]


def test_a_run_that_ends_midway_settles_what_it_told(relay: AdminRelay, state: State) -> None:
    """A signal between two changes keeps the second and not the first."""

    class Ending(Client):
        def add(self, pubkey: str) -> None:
            if pubkey == B:
                raise KeyboardInterrupt
            super().add(pubkey)

    state.ask("add", [A, B])
    with pytest.raises(KeyboardInterrupt):
        flush(state, lambda: Ending(relay.url, SECRET, timeout=5))
    assert [each.pubkey for each in state.waiting()] == [B]
    assert relay.pubkeys == {A, D}


def test_a_sync_clears_what_waited_and_keeps_what_comes_meanwhile(
    relay: AdminRelay, client: Client, state: State
) -> None:
    """What was asked before the union was taken is covered by it; what is asked afterwards is still told."""
    state.ask("add", [A])

    def wanted() -> list[str]:
        state.ask("remove", [B])
        return [B]

    assert reconcile(state, client, wanted) == Counts(1, 0, 2)
    assert [(each.action, each.pubkey) for each in state.waiting()] == [("remove", B)]


def test_a_sync_that_fails_clears_nothing(relay: AdminRelay, client: Client, state: State) -> None:
    """Without the relay's word the queue stays."""
    state.ask("add", [A])
    relay.weather = "mute"
    with pytest.raises(RetryLaterError):
        reconcile(state, client, lambda: [A])
    assert [each.pubkey for each in state.waiting()] == [A]
