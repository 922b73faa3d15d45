"""The service that mines for others, over its wire: who may ask, what is answered, when, for how much."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from powdo.adapters.database.pow_books import Books
from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned
from powdo.nips.pow import committed, difficulty
from powdo.nips.pow_messages import insufficient, out_of_range
from powdo.nips.pow_template import make_template
from powdo.nips.pow_terms import Terms
from powdo.servers.pow.service import Rules, Service
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy
from tests.pow_helpers import NEVER, TERMS, StubbornMiner, event, running_service
from tests.relay_helpers import Client, client, new_key, running_relay, signed, wrap_for

ALICE, BOB = new_key(), new_key()
MEMBERS = {"members": frozenset({ALICE.pubkey, BOB.pubkey})}


def blocks_of(key: SecretKey, content: str = "hello", target: int = 8) -> int:
    """Return the blocks of a minimal event by *key*."""
    return make_template(Unsigned(key.pubkey, int(time.time()), 1, (), content), target).blocks


async def mined(alice: Client, asked: dict[str, Any], target: int, timeout: float = 60.0) -> Unsigned:
    """Return the event that the service answers with, checked as any client would."""
    await alice.say("POW", asked, target)
    message = await alice.hear(timeout)
    assert message[0] == "POW", message
    return checked(message[1], asked, target)


def checked(fields: dict[str, Any], asked: dict[str, Any], target: int) -> Unsigned:
    """Return the answer to *asked*: its id is right, its bits are there, nothing else has changed."""
    assert "sig" not in fields
    found = Unsigned.from_json(fields)
    assert difficulty(found.id) >= target == committed(found.tags)
    kept = [list(tag) for tag in asked["tags"] if tag[0] != "nonce"]
    assert [list(tag) for tag in found.tags[:-1]] == kept
    assert found.tags[-1][0] == "nonce" and found.tags[-1][2] == str(target)
    assert (found.kind, found.content) == (asked["kind"], asked["content"])
    return found


def test_minimal_and_full_events_in_both_orders(tmp_path: Path) -> None:
    """A minimal event becomes the asker's, dated now; a full one keeps its author; signatures go."""

    async def main() -> None:
        async with running_service(tmp_path, **MEMBERS) as (url, _), client(url, ALICE) as alice:
            minimal = await mined(alice, event(tags=[["nonce", "1", "60"], ["t", "é"]]), 8)
            assert minimal.pubkey == ALICE.pubkey and abs(minimal.created_at - time.time()) < 30
            full = signed(BOB, 1, (("p", "x"),), "old", created_at=1000).to_json()
            answer = await mined(alice, full, 8)
            assert answer.pubkey == BOB.pubkey and abs(answer.created_at - time.time()) < 30
            wrap = wrap_for(BOB.pubkey, created_at=1000).to_json()
            answer = await mined(alice, wrap, 8)
            assert (answer.pubkey, answer.created_at) == (wrap["pubkey"], 1000)
            await alice.say("POW", 8, event())
            assert checked((await alice.hear(60))[1], event(), 8)

    asyncio.run(main())


def test_nothing_is_mined_before_auth(tmp_path: Path) -> None:
    """POW before AUTH is answered by a NOTICE and the challenge again; then it is mined."""

    async def main() -> None:
        async with running_service(tmp_path, **MEMBERS) as (url, _), client(url) as alice:
            await alice.say("POW", event(), 8)
            notice, challenge = await alice.hear(), await alice.hear()
            assert notice[0] == "NOTICE" and notice[1].startswith("auth-required: ")
            assert challenge == ["AUTH", alice.challenge]
            assert (await alice.authenticate(ALICE, url="wss://elsewhere.example"))[0] is False
            assert await alice.authenticate(ALICE) == (True, "")
            await mined(alice, event(), 8)

    asyncio.run(main())


def test_with_several_keys_an_event_has_to_say_whose_it_is(tmp_path: Path) -> None:
    """All authenticated keys count; a minimal event of two of them belongs to nobody."""

    async def main() -> None:
        async with running_service(tmp_path, **MEMBERS) as (url, _), client(url, ALICE) as both:
            assert await both.authenticate(BOB) == (True, "")
            await both.say("POW", event(), 8)
            assert "several are authenticated" in (await both.hear())[1]
            assert (await mined(both, event(pubkey=BOB.pubkey), 8)).pubkey == BOB.pubkey

    asyncio.run(main())


def test_a_target_out_of_range_is_told_as_the_draft_words_it(tmp_path: Path) -> None:
    """The NOTICE names the range for this event, which is narrower for a long one."""

    async def main() -> None:
        terms = Terms(min_target=10, max_target=40, max_seconds=1, speed=2.0**24)
        async with (
            running_service(tmp_path, terms=terms, **MEMBERS) as (url, _),
            client(url, ALICE) as alice,
        ):
            for content in ("", "x" * 5000):
                highest = terms.highest(blocks_of(ALICE, content, 99))
                for target in (9, -1, highest + 1, 10**15):
                    await alice.say("POW", event(content), target)
                    assert await alice.hear() == ["NOTICE", out_of_range(10, highest)]
            assert out_of_range(10, 22) == "restricted: target difficulty must be between 10 and 22"
            short, long = terms.highest(blocks_of(ALICE, "")), terms.highest(blocks_of(ALICE, "x" * 5000))
            assert 10 < long < short < 25

    asyncio.run(main())


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (("POW",), 'ask ["POW", <event>, <target bits>]'),
        (("POW", {}, 8, 9), "ask"),
        (("POW", {"kind": 1, "tags": [], "content": ""}, 8.0), "ask"),
        (("POW", {"kind": 1, "tags": [], "content": ""}, True), "ask"),
        (("POW", {"kind": 1, "tags": [], "content": ""}, "8"), "ask"),
        (("POW", [], 8), "ask"),
        (("POW", {}, 8), "content"),
        (("POW", {"kind": 70000, "tags": [], "content": ""}, 8), "kind"),
        (("POW", {"kind": 1, "tags": [[]], "content": ""}, 8), "tag"),
        (("POW", {"kind": 1, "tags": [[None]], "content": ""}, 8), "tag"),
        (("POW", {"kind": 1, "tags": [], "content": "", "pubkey": "AB"}, 8), "pubkey"),
        (("POW", {"kind": 1, "tags": [], "content": "", "id": "0" * 64}, 8), "wrong id"),
        (("POW", {"kind": 1059, "tags": [], "content": "", "created_at": 2**40}, 8), "in the future"),
        (("EVENT", {}), "unsupported: 'EVENT'"),
        (('\n\x1b"',), "unsupported"),
    ],
)
def test_what_makes_no_sense_is_answered(tmp_path: Path, parts: tuple[Any, ...], told: str) -> None:
    """Each bad message has its NOTICE, as proper JSON, and the connection goes on."""

    async def main() -> None:
        async with running_service(tmp_path, **MEMBERS) as (url, _), client(url, ALICE) as alice:
            await alice.say(*parts)
            word, notice = await alice.hear()
            assert word == "NOTICE" and told in notice
            await mined(alice, event(), 4)

    asyncio.run(main())


def test_bytes_that_are_no_message_are_answered(tmp_path: Path) -> None:
    """No JSON, no array, no text, a lone surrogate, a message too long: a NOTICE each."""

    async def main() -> None:
        limits = Limits(max_message=2000)
        async with (
            running_service(tmp_path, limits=limits, **MEMBERS) as (url, _),
            client(url, ALICE) as alice,
        ):
            surrogate = '["POW",{"kind":1,"tags":[],"content":"\\ud800"},8]'
            for data in ("nonsense", "{}", "[]", b"\x00\x01", surrogate, json.dumps(["POW", "x" * 3000, 8])):
                await alice.connection.send(data)
                word, notice = await alice.hear()
                assert word == "NOTICE" and notice.startswith("invalid: "), data
            forged = signed(ALICE).to_json() | {"content": "other"}
            await alice.say("POW", forged, 8)
            assert "wrong id" in (await alice.hear())[1]

    asyncio.run(main())


def test_answers_keep_the_order_of_questions(tmp_path: Path) -> None:
    """Whatever takes longer, the answers come in order, the refusals too."""

    async def main() -> None:
        async with running_service(tmp_path, **MEMBERS) as (url, _), client(url, ALICE) as alice:
            await alice.say("POW", event("one"), 16)
            await alice.say("POW", event("two"), 4)
            await alice.say("POW", event("three"), 99)
            await alice.say("POW", event("four"), 5)
            answers = [await alice.hear(60) for _ in range(4)]
            assert [answer[0] for answer in answers] == ["POW", "POW", "NOTICE", "POW"]
            assert [answers[place][1]["content"] for place in (0, 1, 3)] == ["one", "two", "four"]

    asyncio.run(main())


def test_a_stranger_pays_before_the_work(tmp_path: Path) -> None:
    """Without funds the draft's NOTICE; with them the fee is taken, once, and the event comes."""

    async def main() -> None:
        fee = TERMS.fee(8, blocks_of(ALICE))
        async with running_service(tmp_path) as (url, books), client(url, ALICE) as alice:
            await alice.say("POW", event(), 8)
            assert await alice.hear() == ["NOTICE", insufficient(0, fee)]
            assert (await_text := insufficient(0, fee)).startswith(
                "restricted: insufficient funds. current balance: 0 sat. service fee: "
            ), await_text
            books.credit(ALICE.pubkey, 2500)
            await mined(alice, event(), 8)
            (account,) = books.accounts()
            assert (account.msat, account.charged, account.jobs) == (2500 - fee, fee, 1)
            await mined(alice, event(), 8)
            assert books.accounts()[0].msat == 2500 - fee, "the same again costs nothing"
            await mined(alice, event("other"), 8)
            await alice.say("POW", event("third"), 8)
            assert await alice.hear() == ["NOTICE", insufficient(2500 - 2 * fee, fee)]

    asyncio.run(main())


def test_members_may_be_all_there_is_or_may_pay(tmp_path: Path) -> None:
    """members_only shuts strangers out, whatever they have; members_pay makes members pay."""

    async def main() -> None:
        rules = {"members": frozenset({BOB.pubkey}), "members_only": True, "members_pay": True}
        async with running_service(tmp_path, **rules) as (url, books):
            books.credit(ALICE.pubkey, 10**6)
            async with client(url, ALICE) as alice, client(url, BOB) as bob:
                await alice.say("POW", event(), 8)
                assert (await alice.hear())[1] == "restricted: not on the allowlist"
                await bob.say("POW", event(), 8)
                assert (await bob.hear())[1].startswith("restricted: insufficient funds. ")

    asyncio.run(main())


def test_events_by_others_can_be_left_out(tmp_path: Path) -> None:
    """With foreign = false only what is by an authenticated key is mined."""

    async def main() -> None:
        terms = Terms(min_target=4, foreign=False)
        async with (
            running_service(tmp_path, terms=terms, **MEMBERS) as (url, _),
            client(url, ALICE) as alice,
        ):
            await alice.say("POW", wrap_for(BOB.pubkey).to_json(), 4)
            assert "somebody else" in (await alice.hear())[1]
            await mined(alice, signed(ALICE).to_json(), 4)

    asyncio.run(main())


def settled(books: Books, pubkey: str) -> int:
    """Return what is on the account of *pubkey*."""
    return next(account.msat for account in books.accounts() if account.pubkey == pubkey)


async def until(done: Any, seconds: float = 20.0) -> None:
    """Wait until *done* says so."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_who_leaves_pays_a_share_and_no_more_is_mined(tmp_path: Path) -> None:
    """A lost connection ends its jobs: the fee but for the expected work goes back, waiting jobs are free."""

    async def main() -> None:
        miner = StubbornMiner()
        async with running_service(tmp_path, miner=miner) as (url, books):
            books.credit(ALICE.pubkey, 10**16)
            async with client(url, ALICE) as alice:
                await alice.say("POW", event("first"), 40)
                await alice.say("POW", event("second"), 40)
                await until(lambda: miner.slices.get("first", 0) > 3)
                fee = TERMS.fee(40, blocks_of(ALICE, "first", 40))
                await until(lambda: settled(books, ALICE.pubkey) == 10**16 - 2 * fee)
            await until(lambda: settled(books, ALICE.pubkey) > 10**16 - fee)
            await asyncio.sleep(0.1)
            slices, left = dict(miner.slices), settled(books, ALICE.pubkey)
            await asyncio.sleep(0.2)
            assert miner.slices == slices and "second" not in slices
            assert 0 < 10**16 - left < fee / 1000

    asyncio.run(main())


def test_what_takes_too_long_is_given_up_and_given_back(tmp_path: Path) -> None:
    """A job has several times its expected time; then a NOTICE, and the whole fee is back."""

    async def main() -> None:
        terms = Terms(min_target=4, max_target=64, speed=1e30, least_seconds=0.1)
        async with running_service(tmp_path, miner=StubbornMiner(), terms=terms) as (url, books):
            books.credit(ALICE.pubkey, 10**9)
            async with client(url, ALICE) as alice:
                await alice.say("POW", event(), 30)
                word, notice = await alice.hear(30)
                assert word == "NOTICE" and notice.startswith("error: nothing was found within")
                assert settled(books, ALICE.pubkey) == 10**9

    asyncio.run(main())


def test_a_long_job_does_not_keep_a_short_one_waiting(tmp_path: Path) -> None:
    """Payers take turns, a slice each, while one payer's own jobs come one after the other."""

    async def main() -> None:
        async with (
            running_service(tmp_path, **MEMBERS) as (url, _),
            client(url, ALICE) as alice,
            client(url, BOB) as bob,
        ):
            await alice.say("POW", event("never"), NEVER)
            for number in range(5):
                await mined(bob, event(f"quick {number}"), 10)
            assert await alice.quiet(0.05)

    asyncio.run(main())


def test_too_many_jobs_are_refused(tmp_path: Path) -> None:
    """A payer has so many jobs at once, and all together so much work; small jobs find room beside them."""

    async def main() -> None:
        rules = {"jobs_per_pubkey": 2, "backlog": 10, **MEMBERS}
        terms = Terms(min_target=4, max_target=64, max_seconds=10**9, speed=2.0**34)
        miner = StubbornMiner()
        async with (
            running_service(tmp_path, miner=miner, terms=terms, **rules) as (url, _),
            client(url, ALICE) as alice,
            client(url, BOB) as bob,
        ):
            for number in range(3):
                await alice.say("POW", event(f"{number}"), 33)
            await until(lambda: len(miner.slices) > 0)
            await bob.say("POW", event("large"), 40)
            assert "seconds of work wait" in (await bob.hear())[1]
            await bob.say("POW", event("small"), 20)
            await until(lambda: "small" in miner.slices)
            assert "2" not in miner.slices

    asyncio.run(main())


def test_the_same_request_is_one_job(tmp_path: Path) -> None:
    """Two connections that ask for the same share a job and a fee; it lives while one of them waits."""

    async def main() -> None:
        miner = StubbornMiner()
        async with running_service(tmp_path, miner=miner) as (url, books):
            books.credit(ALICE.pubkey, 10**16)
            fee = TERMS.fee(40, blocks_of(ALICE, "same", 40))
            async with client(url, ALICE) as one:
                await one.say("POW", event("same"), 40)
                async with client(url, ALICE) as other:
                    await other.say("POW", event("same"), 40)
                    await until(lambda: miner.slices.get("same", 0) > 2)
                before = miner.slices["same"]
                await until(lambda: miner.slices["same"] > before + 2)
                assert settled(books, ALICE.pubkey) == 10**16 - fee

    asyncio.run(main())


def test_what_was_found_is_kept_for_who_comes_again(tmp_path: Path) -> None:
    """After a restart, too, the same request gives the same event without a second fee."""

    async def ask() -> tuple[Unsigned, int]:
        async with running_service(tmp_path) as (url, books), client(url, ALICE) as alice:
            if not books.accounts():
                books.credit(ALICE.pubkey, 10**6)
            found = await mined(alice, event("once"), 8)
            return found, settled(books, ALICE.pubkey)

    assert asyncio.run(ask()) == asyncio.run(ask())


def test_mining_does_not_keep_the_loop_from_answering(tmp_path: Path) -> None:
    """While it mines at full load, pings are answered and others served."""

    async def main() -> None:
        async with running_service(tmp_path, **MEMBERS) as (url, _), client(url, ALICE) as alice:
            await alice.say("POW", event("never"), NEVER)
            for _ in range(20):
                await asyncio.wait_for(await alice.connection.ping(), 10)
            async with connect(url) as other:
                assert json.loads(await other.recv())[0] == "AUTH"

    asyncio.run(main())


def test_who_is_silent_with_nothing_to_wait_for_is_sent_away(tmp_path: Path) -> None:
    """An idle connection is closed; one with a job under way is not."""

    async def main() -> None:
        async with running_service(tmp_path, idle=0.3, **MEMBERS) as (url, _):
            waiting, idle = client(url, ALICE), client(url, BOB)
            async with waiting as alice, idle as bob:
                await alice.say("POW", event("never"), NEVER)
                await asyncio.wait_for(bob.connection.wait_closed(), 20)
                assert await alice.quiet(0.5)

    asyncio.run(main())


def test_at_the_end_nobody_has_paid_for_what_they_did_not_get(tmp_path: Path) -> None:
    """A service that is told to end gives fees back and says so."""

    async def main() -> None:
        async with running_service(tmp_path, miner=StubbornMiner()) as (url, books):
            books.credit(ALICE.pubkey, 10**16)
            alice = client(url, ALICE)
            one = await alice.__aenter__()
            await one.say("POW", event("under way"), 40)
            await one.say("POW", event("waiting"), 40)
            await until(lambda: settled(books, ALICE.pubkey) < 10**16)
        notices = [await one.hear() for _ in range(2)]
        assert all(notice[1].startswith("error: the service is shutting down") for notice in notices)
        await alice.__aexit__(None, None, None)
        assert Books(f"sqlite:///{tmp_path}/pow.sqlite").accounts()[0].msat == 10**16

    asyncio.run(main())


@asynccontextmanager
async def relay_that_mines(folder: Path) -> AsyncIterator[tuple[str, Books]]:
    """Yield the address of a relay with the service inside."""
    with closing(Books(f"sqlite:///{folder}/pow.sqlite")) as books:

        def service() -> Service:
            rules = Rules(terms=TERMS, **MEMBERS)
            return Service(StubbornMiner(), books, rules, name="test", warn=print)

        policy = Policy(allowed=MEMBERS["members"])
        async with running_relay(folder, policy, pow=service) as url:
            yield url, books


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in the relay"])
def test_who_asks_on_without_waiting_for_answers_is_cut_off(tmp_path: Path, inside: bool) -> None:
    """Answers wait for the one before them; a client that piles them up behind a long job is cut off."""

    async def main() -> None:
        alone = running_service(tmp_path, miner=StubbornMiner(), **MEMBERS)
        async with (
            relay_that_mines(tmp_path) if inside else alone as (url, _),
            client(url, ALICE) as alice,
            client(url, BOB) as bob,
        ):
            await alice.say("POW", event("never"), NEVER)
            for _ in range(300):
                await alice.say("POW")
            assert await alice.quiet(0.2)  # so many may wait
            with contextlib.suppress(ConnectionClosed):
                for _ in range(2000):
                    await alice.say("POW")
            await asyncio.wait_for(alice.connection.wait_closed(), 20)
            await bob.say("POW")
            assert (await bob.hear())[0] == "NOTICE"

    asyncio.run(main())
