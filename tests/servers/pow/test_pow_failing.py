"""The service when it meets a bug of its own: told, nobody waits in vain or pays for it, and it goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest

from powdo.adapters.database.pow_books import Books
from powdo.adapters.miner import make_miner
from powdo.nips.event import Unsigned
from powdo.nips.pow import difficulty
from powdo.nips.pow_search import Slice
from powdo.nips.pow_template import Template
from powdo.servers.pow import service as service_module
from powdo.servers.pow.jobs import Job, Turns
from powdo.servers.pow.rules import Rules
from powdo.servers.pow.service import Service
from powdo.servers.relay.policy import Policy
from tests.pow_helpers import NEVER, TERMS, StubbornMiner, event, running_service
from tests.relay_helpers import client, new_key, running_relay

ALICE, BOB = new_key(), new_key()
CREDIT = 10**16


class BrokenMiner:
    """A real miner, but for events that say `poison`: there it has a bug."""

    def __init__(self) -> None:
        self._miner = make_miner(None, 1)
        self.name, self.workers = self._miner.name, self._miner.workers
        self.stop, self.resume, self.close = self._miner.stop, self._miner.resume, self._miner.close

    def work(self, template: Template, first: int, seconds: float) -> Slice:
        """Mine, or fail as nothing of ours is meant to fail."""
        if template.event.content == "poison":
            raise KeyError("broken on purpose")
        return self._miner.work(template, first, seconds)


@asynccontextmanager
async def inside_a_relay(folder: Path, *, miner, warnings: list[str]) -> AsyncIterator[tuple[str, Books]]:
    """Yield the address of a relay with the service inside, and the books."""
    with closing(Books(f"sqlite:///{folder}/pow.sqlite")) as books:

        def make() -> Service:
            rules = Rules(terms=TERMS, members=frozenset())
            return Service(miner, books, rules, name="test", warn=warnings.append)

        async with running_relay(folder, Policy(allowed=frozenset()), pow=make) as url:
            yield url, books
        assert books.audit() == []


Running = AbstractAsyncContextManager[tuple[str, Books]]


@pytest.fixture(params=[running_service, inside_a_relay], ids=["alone", "in the relay"])
def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Return what runs a service, alone or in a relay, with a short pause after a bug."""
    monkeypatch.setattr(service_module, "PAUSE", 0.1)
    return request.param


def has_paid_nothing(books: Books, pubkey: str) -> bool:
    """Return whether all is on the account that was put there; an answer comes after the fee is back."""
    (found,) = [account for account in books.accounts() if account.pubkey == pubkey]
    return (found.msat, found.charged, found.jobs) == (CREDIT, 0, 0)


def test_a_bug_ends_the_job_that_met_it(running, tmp_path: Path) -> None:
    """Who asked is told and has their money back; others get what they wait for, then and later."""
    warnings: list[str] = []

    async def main() -> None:
        async with (
            running(tmp_path, miner=BrokenMiner(), warnings=warnings) as (url, books),
            client(url, ALICE) as alice,
            client(url, BOB) as bob,
        ):
            for key in (ALICE, BOB):
                books.credit(key.pubkey, CREDIT)
            for _ in range(2):
                await alice.say("POW", event("poison"), 20)
                await bob.say("POW", event(f"sound {time.monotonic()}"), 16)
                assert await alice.hear(60) == ["NOTICE", service_module._BUG]
                assert has_paid_nothing(books, ALICE.pubkey)
                name, found = await bob.hear(60)
                assert name == "POW" and difficulty(Unsigned.from_json(found).id) >= 16
            await alice.say("POW", event("sound"), 8)
            assert (await alice.hear(60))[0] == "POW"

    asyncio.run(main())
    assert warnings == ["mining failed, and goes on: KeyError: 'broken on purpose'"] * 2


def test_a_bug_in_nobodys_turn_ends_what_waits(running, tmp_path: Path, monkeypatch) -> None:
    """Where no request is to blame, all that wait are told and repaid, and new ones are taken."""
    warnings: list[str] = []
    usual = Turns.next
    broken = False

    def failing(self: Turns) -> Job | None:
        nonlocal broken
        if broken:
            broken = False
            raise LookupError("broken on purpose")
        return usual(self)

    monkeypatch.setattr(Turns, "next", failing)

    async def main() -> None:
        nonlocal broken
        miner = StubbornMiner()
        async with (
            running(tmp_path, miner=miner, warnings=warnings) as (url, books),
            client(url, ALICE) as alice,
            client(url, BOB) as bob,
        ):
            for number, one in enumerate((alice, bob)):
                books.credit((ALICE, BOB)[number].pubkey, CREDIT)
                await one.say("POW", event(f"{number}"), NEVER - 20)
            while len(miner.slices) < 2:
                await asyncio.sleep(0.01)
            broken = True
            for one, key in ((alice, ALICE), (bob, BOB)):
                assert await one.hear(60) == ["NOTICE", service_module._BUG]
                assert has_paid_nothing(books, key.pubkey)
            await alice.say("POW", event("again"), NEVER - 20)
            while "again" not in miner.slices:
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert warnings == ["mining failed, and goes on: LookupError: broken on purpose"]


def test_a_damaged_result_keeps_nobody_waiting(running, tmp_path: Path) -> None:
    """What cannot be read back in the books is told, costs nothing, and others are served on."""
    warnings: list[str] = []

    async def main() -> None:
        async with (
            running(tmp_path, miner=BrokenMiner(), warnings=warnings) as (url, books),
            client(url, ALICE) as alice,
        ):
            books.credit(ALICE.pubkey, CREDIT)
            await alice.say("POW", event("once"), 8)
            assert (await alice.hear(60))[0] == "POW"
            with books._database.write() as connection:
                connection.exec_driver_sql("UPDATE pow_job SET result = '{'")
            before = books.accounts()
            await alice.say("POW", event("once"), 8)
            assert await alice.hear(60) == ["NOTICE", service_module._BUG]
            assert books.accounts() == before
            await alice.say("POW", event("another"), 8)
            assert (await alice.hear(60))[0] == "POW"

    asyncio.run(main())
    assert len(warnings) == 1 and warnings[0].startswith("a request failed: JSONDecodeError")
