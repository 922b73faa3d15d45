"""The relay against a naive one: a list of events, searched from end to end (NIP-01, 09, 40, 45, 59).

Hypothesis publishes, replaces, deletes, lets time pass, kills nothing but restarts, asks and counts over
real connections; after each step both relays must have said the same. The clock is the test's own.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from naive_relay import WRAPS, Naive, address, values, visible
from relay_helpers import Client, client, running_relay

from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Tags, Unsigned, sign
from powdo.nips.relay_messages import prefix
from powdo.servers.relay.policy import Policy

T = TypeVar("T")

#: Known keys: what Hypothesis has found must come again with the same ids.
KEYS = [SecretKey(sha256(name.encode()).digest()) for name in ("ann", "bob", "eve")]
PUBKEYS = [key.pubkey for key in KEYS]
BASE = 1_800_000_000
KINDS = (0, 1, 7, 1059, 10002, 20001, 30078)
OPEN = Policy(allowed=(), open=True)


# --- what is done ---

who = st.integers(0, 2)
offset = st.integers(-1, 1)  # so that events of one second meet
latest = st.integers(0, 6)
some = st.lists(latest, max_size=3)
tags = st.lists(
    st.sampled_from([("t", "a"), ("t", "b"), ("t", ""), ("t",), ("d", "x"), ("p", PUBKEYS[0])]), max_size=3
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "ids": some,
        "authors": st.lists(st.sampled_from(PUBKEYS), max_size=2),
        "kinds": st.lists(st.sampled_from([*KINDS, 5]), max_size=3),
        "#t": st.lists(st.sampled_from(["a", "b", "", "c"]), max_size=2),
        "#p": st.lists(st.sampled_from(PUBKEYS), max_size=2),
        "#d": st.lists(st.sampled_from(["x", "y"]), max_size=2),
        "#e": some,
        "since": st.integers(BASE - 3, BASE + 9),
        "until": st.integers(BASE - 3, BASE + 9),
        "limit": st.integers(0, 6),
    },
)


class Machine(RuleBasedStateMachine):
    """Both relays, and three who are connected to the real one, each under a key of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="powdo-model-"))
        self.now = BASE
        self.naive = Naive()
        self.made: list[Event] = []
        self.stack = AsyncExitStack()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Return what comes of *what*, done at the test's time."""
        with mock.patch("time.time", lambda: float(self.now)):
            return self.loop.run_until_complete(asyncio.wait_for(what, 20))

    @initialize()
    def start(self) -> None:
        """Start the relay; everybody connects, and the first listens to all that comes."""

        async def connect() -> list[Client]:
            url = await self.stack.enter_async_context(running_relay(self.folder, OPEN))
            clients = [await self.stack.enter_async_context(client(url, key)) for key in KEYS]
            await clients[0].say("REQ", "live", {"limit": 0})
            assert await clients[0].hear() == ["EOSE", "live"]
            return clients

        self.clients = self.run(connect())

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    def publish(self, event: Event) -> None:
        """Publish at both; the first client hears at once what is new and for their eyes."""
        says = self.naive.publish(event, self.now)
        due = [event.id] if says == "" and visible(event, PUBKEYS[0]) else []

        async def both() -> None:
            accepted, message = await self.clients[1].publish(event)
            assert (accepted, prefix(message)) == (says in ("", "duplicate"), says)
            await self.clients[0].say("COUNT", "end", {"ids": []})
            heard = []
            while (message := await self.clients[0].hear())[0] == "EVENT" or len(heard) < len(due):
                if message[0] == "EVENT":
                    heard.append(message[2]["id"])
            assert heard == due

        self.run(both())
        self.made.append(event)

    def make(self, author: int, kind: int, tags: Tags, at: int) -> Event:
        """Return a new event."""
        key = KEYS[author]
        draft = Unsigned(key.pubkey, self.now + at, kind, tags, f"{len(self.made)}")
        return sign(draft, key, secrets.token_bytes(32))

    def known(self, numbers: list[int]) -> list[Event]:
        """Return events that were made before, 0 being the last."""
        return [self.made[-1 - number % len(self.made)] for number in numbers] if self.made else []

    @rule(
        author=who,
        kind=st.sampled_from(KINDS),
        tags=tags,
        at=offset,
        to=who,
        life=st.none() | st.integers(0, 3),
    )
    def publish_new(
        self, author: int, kind: int, tags: list[tuple[str, ...]], at: int, to: int, life: int | None
    ) -> None:
        """Publish something new; a wrap has one recipient, and what is not replaced may expire."""
        if kind in WRAPS:
            tags = [("p", PUBKEYS[to]), *(tag for tag in tags if tag[0] != "p")]
        if life is not None and kind in (1, 7, 1059):
            tags = [*tags, ("expiration", str(self.now + life))]
        self.publish(self.make(author, kind, tuple(tags), at))

    @rule(number=latest)
    def publish_again(self, number: int) -> None:
        """Publish what was published before, whatever became of it."""
        for event in self.known([number]):
            self.publish(event)

    @rule(author=st.none() | who, numbers=some, places=some, at=offset)
    def delete(self, author: int | None, numbers: list[int], places: list[int], at: int) -> None:
        """Ask to delete events and addresses: one's own, a wrap to oneself, or another's."""
        named, placed = self.known(numbers), self.known(places)
        tags = [("e", event.id) for event in named]
        tags += [("a", place) for event in placed if (place := address(event))]
        if author is None:
            event = next(iter([*named, *placed]), None)
            owner = (values(event, "p") if event.kind in WRAPS else [event.pubkey]) if event else PUBKEYS
            author = PUBKEYS.index(owner[0])
        self.publish(self.make(author, 5, tuple(tags), at))

    @rule(seconds=st.integers(1, 2))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.now += seconds

    @rule()
    def restart(self) -> None:
        """Stop the relay and start it on the same folder."""
        self.run(self.stack.aclose())
        self.start()

    @invariant()
    def have_the_same(self) -> None:
        """Hold what each of the three is shown of all against the list."""
        reader = len(self.made) % 3
        if self.made:
            self.compare(reader, {})

    @rule(reader=who, asked=filters)
    def ask(self, reader: int, asked: dict[str, Any]) -> None:
        """Ask with one filter: the same events come, in the same order."""
        self.compare(reader, self.filled(asked))

    def filled(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return a filter whose numbers have become the ids of events."""
        ids = {name: [e.id for e in self.known(asked[name])] for name in ("ids", "#e") if name in asked}
        return asked | ids

    def compare(self, reader: int, asked: dict[str, Any]) -> None:
        """Ask both relays."""

        async def once() -> list[dict[str, Any]] | str:
            answer = await self.clients[reader].ask(asked)
            await self.clients[reader].say("CLOSE", "s")
            return answer

        found = self.run(once())
        if isinstance(found, str):
            assert prefix(found) == "restricted"
            assert set(asked["kinds"]) == {1059}
            assert PUBKEYS[reader] not in asked["#p"]
            found = []
        assert [event["id"] for event in found] == self.naive.find(asked, PUBKEYS[reader], self.now)
        assert all(Event.from_json(event) in self.naive.events for event in found)

    @rule(reader=who, asked=st.lists(filters, min_size=1, max_size=3))
    def count(self, reader: int, asked: list[dict[str, Any]]) -> None:
        """Count with several filters: each event counts once, whatever the limits."""
        asked = [self.filled(item) for item in asked]
        unlimited = [{name: item[name] for name in item if name != "limit"} for item in asked]
        found = {event for item in unlimited for event in self.naive.find(item, PUBKEYS[reader], self.now)}

        async def counted() -> list[Any]:
            await self.clients[reader].say("COUNT", "c", *asked)
            return await self.clients[reader].hear()

        answer = self.run(counted())
        assert answer == ["COUNT", "c", {"count": len(found)}] or prefix(answer[2]) == "restricted"


TestRelayAgainstANaiveOne = Machine.TestCase
TestRelayAgainstANaiveOne.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # to shrink takes minutes; 30 steps can be read as they are
)
