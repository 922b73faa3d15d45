"""Publisher and listener against our relay, and against servers that lie, stall and fall over."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from relay_helpers import ask, client, new_key, relay_thread, running_relay, signed, wrap_for
from websockets.asyncio.server import ServerConnection, serve

from powdo.adapters.relay.listener import Plan, listen
from powdo.adapters.relay.publisher import AuthSigner, RelayClient
from powdo.errors import (
    KeyRejectedError,
    OutputError,
    PeerAwayError,
    PeerProtocolError,
    PowdoError,
    RefusedError,
    RetryLaterError,
)
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.nips.nip42 import auth_event
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy

ALICE, BOB, EVE = new_key(), new_key(), new_key()
ALLOWED = Policy(allowed={ALICE.pubkey})
OPEN = Policy(allowed=(), open=True)


def signer(key: SecretKey) -> AuthSigner:
    """Return what answers challenges as *key*."""
    return lambda challenge, url: auth_event(challenge, url, key, int(time.time()), secrets.token_bytes(32))


Behaviour = Callable[[ServerConnection], Awaitable[None]]


@contextmanager
def odd_relay(behaviour: Behaviour) -> Iterator[str]:
    """Yield the address of a websocket server that does what *behaviour* says with each connection."""
    import threading

    ready = threading.Event()
    held: dict[str, Any] = {}

    async def main() -> None:
        held["stop"] = asyncio.Event()
        held["loop"] = asyncio.get_running_loop()
        async with serve(behaviour, "127.0.0.1", 0, compression=None) as server:
            held["port"] = next(iter(server.sockets)).getsockname()[1]
            ready.set()
            await held["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield f"ws://127.0.0.1:{held['port']}"
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)
        thread.join()


# --- publishing ---


def test_a_wrap_is_published_after_authentication_on_one_connection(tmp_path: Path) -> None:
    """auth-required is answered with the key given, and the connection serves many events."""
    wraps = [wrap_for(BOB.pubkey) for _ in range(3)]
    with relay_thread(tmp_path, ALLOWED) as url:
        with RelayClient(url, timeout=5, sign_auth=signer(ALICE)) as publisher:
            for wrap in wraps:
                assert publisher.publish(wrap) == ""
            assert publisher.publish(wraps[0]).startswith("duplicate: ")
        assert set(ask(url, {"kinds": [1059]}, key=BOB)) == {wrap.id for wrap in wraps}


def test_a_proxy_is_for_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay on this machine is reached directly, whatever the environment says of proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with relay_thread(tmp_path, OPEN) as url, RelayClient(url, timeout=5) as publisher:
        assert publisher.publish(signed(ALICE)) == ""
    with (
        RelayClient("wss://relay.example", timeout=2) as publisher,
        pytest.raises(RetryLaterError, match="Connection refused"),
    ):
        publisher.publish(signed(ALICE))


def test_a_stranger_is_refused_for_good(tmp_path: Path) -> None:
    """Without a key, or with one that is not on the list, a wrap is refused with a hint."""
    with relay_thread(tmp_path, ALLOWED) as url:
        for sign_auth, word in ((None, "auth-required"), (signer(EVE), "restricted")):
            with RelayClient(url, timeout=5, sign_auth=sign_auth) as publisher:
                with pytest.raises(RefusedError, match=word) as refused:
                    publisher.publish(wrap_for(BOB.pubkey))
                assert refused.value.hint
                assert publisher.publish(signed(ALICE, content=word)) == ""


def test_a_relay_that_restarts_is_found_again(tmp_path: Path) -> None:
    """A kept connection that has gone is opened anew; a relay that is away is for later."""
    port = free_port()
    publisher = RelayClient(f"ws://127.0.0.1:{port}", timeout=3, sign_auth=signer(ALICE))
    with pytest.raises(RetryLaterError, match="cannot reach 'ws:"):
        publisher.publish(signed(ALICE))

    async def one_run(action: Callable[[], Any]) -> None:
        async with running_relay_on(tmp_path, port):
            await asyncio.to_thread(action)

    for number in range(2):
        event = signed(ALICE, content=f"{number}")
        asyncio.run(one_run(lambda event=event: publisher.publish(event)))  # type: ignore[misc]  # bound now
    with pytest.raises(RetryLaterError):
        publisher.publish(signed(ALICE))
    publisher.close()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running_relay_on(data: Path, port: int) -> AsyncIterator[None]:
    """Run an open relay on a fixed port."""
    from powdo.servers.relay.application import Config, Relay

    relay = Relay(Config(host="127.0.0.1", port=port, data=data, policy=OPEN))
    stop, ready = asyncio.Event(), asyncio.Event()
    server = asyncio.ensure_future(relay.serve(lambda _url: ready.set(), stop))
    await ready.wait()
    try:
        yield
    finally:
        stop.set()
        await server


def answering(*messages: Any) -> Behaviour:
    """Return a server that answers each event with *messages*; `ID` stands for the event's id."""

    async def behave(connection: ServerConnection) -> None:
        async for data in connection:
            event = json.loads(data)[1]
            for message in messages:
                text = message if isinstance(message, str | bytes) else json.dumps(message)
                if isinstance(text, str):
                    text = text.replace("ID", event["id"])
                await connection.send(text)

    return behave


@pytest.mark.parametrize(
    ("messages", "kind", "word"),
    [
        ([["OK", "ID", False, "rate-limited: slow down"]], RetryLaterError, "slow down"),
        ([["OK", "ID", False, "error: disk full"]], RetryLaterError, "disk full"),
        ([["OK", "ID", False, "blocked: no"]], RefusedError, "blocked"),
        ([["OK", "ID", False, "pow: 20 bits"]], RefusedError, "pow"),
        ([["OK", "ID", False, "invalid: back-dated"]], RefusedError, "back-dated"),
        ([["OK", "ID", False, ""]], RefusedError, "no reason given"),
        (["HTTP/1.1 oops"], RetryLaterError, "breaks the protocol"),
        ([b"\xff\x00"], RetryLaterError, "not UTF-8"),
        ([["OK", "ID", "yes", ""]], RetryLaterError, "wrong shape"),
        ([["NOTICE", "hm"], ["OK", "0", True, ""]], RetryLaterError, "timed out"),
        ([], RetryLaterError, "timed out"),
        ([["OK", "ID", False, "auth-required: x"]], RetryLaterError, "timed out"),
        (["x" * (3 << 20)], RetryLaterError, "too long"),
    ],
)
def test_odd_answers(messages: list[Any], kind: type[PowdoError], word: str) -> None:
    """Each answer a relay may give ends in the right class of error, within the time given."""
    with odd_relay(answering(*messages)) as url:
        started = time.monotonic()
        with (
            RelayClient(url, timeout=0.5, sign_auth=signer(ALICE)) as publisher,
            pytest.raises(kind, match=word),
        ):
            publisher.publish(signed(ALICE))
        assert time.monotonic() - started < 5


def test_a_key_that_cannot_be_unlocked_is_our_fault() -> None:
    """An error of the signer comes through as it is."""

    def refuse(_challenge: str, _url: str) -> Event:
        raise KeyRejectedError("the master key is missing")

    messages = (["AUTH", "c"], ["OK", "ID", False, "auth-required: who?"])
    with odd_relay(answering(*messages)) as url, RelayClient(url, timeout=3, sign_auth=refuse) as publisher:
        with pytest.raises(KeyRejectedError):
            publisher.publish(signed(ALICE))
        publisher.close()


async def hang_up(connection: ServerConnection) -> None:
    """Close at the first word."""
    await connection.recv()
    await connection.close(1011, "broken")


@contextmanager
def tcp_server(answer: bytes | None) -> Iterator[str]:
    """Yield the address of a TCP server that says *answer* and hangs up, or (None) stays silent."""
    import threading

    listening = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            held.append(peer)
            if answer is not None:
                peer.recv(4096)
                peer.sendall(answer)
                peer.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for peer in held:
            peer.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, RetryLaterError),
        (b"", RetryLaterError),
        (b"SSH-2.0-hello\r\n", RetryLaterError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", RetryLaterError),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", RetryLaterError),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", RefusedError),
    ],
)
def test_what_is_no_relay(answer: bytes | None, kind: type[PowdoError]) -> None:
    """A silent, closing or foreign server cannot be reached; an HTTP refusal is final."""
    with (
        tcp_server(answer) as url,
        RelayClient(url, timeout=0.5) as publisher,
        pytest.raises(kind, match=f"cannot reach '{url}'"),
    ):
        publisher.publish(signed(ALICE))


def test_a_relay_that_hangs_up() -> None:
    """A connection closed instead of an answer is for later."""
    with (
        odd_relay(hang_up) as url,
        RelayClient(url, timeout=2) as publisher,
        pytest.raises(RetryLaterError, match="broken"),
    ):
        publisher.publish(signed(ALICE))


# --- listening ---


class Memory:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.syncs: dict[str, int] = {}
        self.troubles: list[tuple[str, PowdoError]] = []
        self.stored = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.failure: BaseException | None = None

    def last_sync(self, relay: str) -> int | None:
        return self.syncs.get(relay)

    def store(self, relay: str, event: Event) -> None:
        if self.failure is not None:
            raise self.failure
        if event.id not in self.events:
            self.events.append(event.id)
        self.loop.call_soon_threadsafe(self.stored.set)

    def synced(self, relay: str, at: int) -> None:
        self.syncs[relay] = at

    def trouble(self, relay: str, error: PowdoError) -> None:
        self.troubles.append((relay, error))

    def said(self, relay: str, message: str) -> None:
        pass

    async def until(self, count: int) -> None:
        """Wait until *count* events have been stored."""
        async with asyncio.timeout(10):
            while len(self.events) < count:
                self.stored.clear()
                await self.stored.wait()


def plan_for(*urls: str, **changes: Any) -> Plan:
    """Return what BOB listens for."""
    settings: dict[str, Any] = {
        "relays": urls,
        "filter": Filter(kinds=(1059, 21059), tags={"p": (BOB.pubkey,)}),
        "sign_auth": signer(BOB),
        "timeout": 2.0,
        "until_eose": True,
        "shortest_wait": 0.05,
    }
    return Plan(**{**settings, **changes})


def test_until_eose_reads_all_pages_and_ends(tmp_path: Path) -> None:
    """More wraps than a page holds all come, to their recipient only, and the sync is noted."""

    async def scenario() -> None:
        limits = Limits(max_limit=7)
        async with running_relay(tmp_path, Policy(allowed=(), open=True, limits=limits)) as url:
            now = int(time.time())
            wraps = [wrap_for(BOB.pubkey, created_at=now - n * 7000 % 172800) for n in range(40)]
            async with client(url) as writer:
                for wrap in (*wraps, wrap_for(EVE.pubkey)):
                    assert (await writer.publish(wrap))[0]
            sink = Memory()
            await listen(plan_for(url), sink, asyncio.Event())
            assert sorted(sink.events) == sorted(wrap.id for wrap in wraps)
            assert abs(sink.syncs[url] - now) < 10
            assert sink.troubles == []
            again = Memory()
            again.syncs = dict(sink.syncs)
            await listen(plan_for(url), again, asyncio.Event())
            assert sorted(again.events) == sorted(sink.events)  # the margin covers all back-dating

    asyncio.run(scenario())


def test_live_wraps_come_and_a_signal_ends_it(tmp_path: Path) -> None:
    """After what was stored, new wraps come at once, also ephemeral ones, until stop is set."""

    async def scenario() -> None:
        async with running_relay(tmp_path, OPEN) as url, client(url) as writer:
            old = wrap_for(BOB.pubkey)
            await writer.publish(old)
            sink, stop = Memory(), asyncio.Event()
            running = asyncio.ensure_future(listen(plan_for(url, until_eose=False), sink, stop))
            await sink.until(1)
            async with asyncio.timeout(5):
                while url not in sink.syncs:
                    await asyncio.sleep(0.02)
            new = [
                wrap_for(BOB.pubkey, created_at=int(time.time()) - 170_000),
                wrap_for(BOB.pubkey, kind=21059),
            ]
            for wrap in new:
                await writer.publish(wrap)
            await sink.until(3)
            assert sink.events == [old.id, *(wrap.id for wrap in new)]
            stop.set()
            await asyncio.wait_for(running, 5)

    asyncio.run(scenario())


def test_a_relay_that_comes_back_is_listened_to_again(tmp_path: Path) -> None:
    """While live, a relay that was away or restarts is connected to again, and nothing is missed."""

    async def scenario() -> None:
        port = free_port()
        url = f"ws://127.0.0.1:{port}"
        sink, stop = Memory(), asyncio.Event()
        running = asyncio.ensure_future(listen(plan_for(url, until_eose=False), sink, stop))
        for number in range(2):
            async with running_relay_on(tmp_path, port), client(url) as writer:
                await writer.publish(wrap_for(BOB.pubkey))
                await sink.until(number + 1)
        stop.set()
        await asyncio.wait_for(running, 5)
        assert {type(error) for _, error in sink.troubles} == {PeerAwayError}

    asyncio.run(scenario())


async def lie(connection: ServerConnection) -> None:
    """Send forged, foreign and unasked events, then EOSE."""
    forged = {**wrap_for(BOB.pubkey).to_json(), "content": "changed"}
    async for data in connection:
        message = json.loads(data)
        if message[0] != "REQ":
            continue
        for event in (forged, wrap_for(EVE.pubkey).to_json(), signed(EVE).to_json()):
            await connection.send(json.dumps(["EVENT", message[1], event]))
        await connection.send(json.dumps(["EOSE", message[1]]))


async def babble(connection: ServerConnection) -> None:
    """Say nothing that means anything."""
    await connection.send('{"hello":')
    await connection.wait_closed()


async def stall(connection: ServerConnection) -> None:
    """Say nothing."""
    await connection.wait_closed()


async def refuse_auth(connection: ServerConnection) -> None:
    """Ask for AUTH and take none."""
    await connection.send('["AUTH","c"]')
    async for data in connection:
        message = json.loads(data)
        if message[0] == "AUTH":
            await connection.send(json.dumps(["OK", message[1]["id"], False, "restricted: not you"]))


def test_odd_relays_do_not_disturb_the_others(tmp_path: Path) -> None:
    """Lies, babble, silence, refusals and absence are each told, and the good relay is read to its end."""

    async def scenario(bad: dict[str, type[PowdoError]]) -> None:
        async with running_relay(tmp_path, OPEN) as url, client(url) as writer:
            wrap = wrap_for(BOB.pubkey)
            await writer.publish(wrap)
            sink = Memory()
            started = time.monotonic()
            await listen(plan_for(*bad, url, timeout=1.0), sink, asyncio.Event())
            assert time.monotonic() - started < 8
            assert sink.events == [wrap.id]
            assert {relay: type(error) for relay, error in sink.troubles} == bad
            assert url in sink.syncs

    with (
        odd_relay(lie) as liar,
        odd_relay(babble) as babbler,
        odd_relay(stall) as staller,
        odd_relay(refuse_auth) as refuser,
        tcp_server(b"hm") as foreigner,
    ):
        asyncio.run(
            scenario(
                {
                    liar: PeerProtocolError,
                    babbler: PeerAwayError,
                    staller: PeerAwayError,
                    refuser: RefusedError,
                    foreigner: PeerAwayError,
                    f"ws://127.0.0.1:{free_port()}": PeerAwayError,
                }
            )
        )


@pytest.mark.parametrize("until_eose", [True, False])
def test_a_failing_sink_ends_the_listening(tmp_path: Path, until_eose: bool) -> None:
    """A full disk is not the relay's fault: it ends the command instead of a reconnect."""

    async def scenario() -> None:
        async with running_relay(tmp_path, OPEN) as url, client(url) as writer:
            await writer.publish(wrap_for(BOB.pubkey))
            sink = Memory()
            sink.failure = OutputError("no space left")
            with pytest.raises(OutputError):
                await asyncio.wait_for(
                    listen(plan_for(url, until_eose=until_eose), sink, asyncio.Event()), 10
                )
            assert sink.syncs == {}

    asyncio.run(scenario())
