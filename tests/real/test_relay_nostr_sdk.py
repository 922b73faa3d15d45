"""powdo's relay with nostr-sdk's client, and powdo's clients with nostr-sdk's relay."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import nostr_sdk
from relay_helpers import running_relay, signed, wrap_for

from powdo.adapters.relay.listener import Plan, listen
from powdo.adapters.relay.publisher import RelayClient
from powdo.errors import PowdoError
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.nips.nip42 import auth_event
from powdo.servers.relay.policy import Policy


class Auth(nostr_sdk.Authenticator):  # type: ignore[misc]  # the package has no types
    """Answers challenges of a relay for nostr-sdk's client."""

    def __init__(self, keys: Any) -> None:
        super().__init__()
        self.keys = keys

    async def make_auth_event(self, relay_url: Any, challenge: str) -> Any:
        """Return the signed answer."""
        event = auth_event(
            challenge,
            str(relay_url),
            SecretKey(bytes.fromhex(self.keys.secret_key().to_hex())),
            int(time.time()),
            secrets.token_bytes(32),
        )
        return nostr_sdk.Event.from_json(json.dumps(event.to_json()))


def key() -> tuple[SecretKey, Any]:
    """Return a fresh key in both worlds."""
    mine = SecretKey(os.urandom(32))
    return mine, nostr_sdk.Keys.parse(mine.secret_bytes().hex())


def theirs(event: Event) -> Any:
    """Return *event* as nostr-sdk's."""
    return nostr_sdk.Event.from_json(json.dumps(event.to_json()))


async def connected(url: str, keys: Any) -> Any:
    """Return nostr-sdk's client, connected to *url*."""
    client = nostr_sdk.ClientBuilder().authenticator(Auth(keys)).build()
    await client.add_relay(nostr_sdk.RelayUrl.parse(url))
    await client.connect(timedelta(seconds=5))
    return client


async def fetch(client: Any, **asked: Any) -> list[str]:
    """Return the ids nostr-sdk's client fetches."""
    target = nostr_sdk.ReqTarget.auto([nostr_sdk.Filter.from_json(json.dumps(asked))])
    events = await client.fetch_events(target, timedelta(seconds=5))
    return [event.id().to_hex() for event in events]


def test_nostr_sdk_publishes_and_reads_at_our_relay(tmp_path: Path) -> None:
    """nostr-sdk's client authenticates, publishes a wrap, and only its recipient fetches it."""

    async def scenario() -> None:
        nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
        (alice, alice_keys), (bob, bob_keys), (_, eve_keys) = key(), key(), key()
        async with running_relay(tmp_path, Policy(allowed={alice.pubkey})) as url:
            sender, recipient, other = [
                await connected(url, keys) for keys in (alice_keys, bob_keys, eve_keys)
            ]
            note, wrap = signed(alice, content="ä\u007f€"), wrap_for(bob.pubkey)
            for event in (note, wrap):
                output = await sender.send_event(theirs(event))
                assert output.failed == {}
                assert len(output.success) == 1
            refused = await other.send_event(theirs(wrap_for(bob.pubkey)))
            assert "restricted" in next(iter(refused.failed.values()))
            assert await fetch(other, kinds=[1]) == [note.id]
            assert await fetch(recipient, **{"kinds": [1059], "#p": [bob.pubkey]}) == [wrap.id]
            assert await fetch(other, ids=[wrap.id]) == []
            assert await fetch(recipient, ids=[wrap.id, note.id]) in ([wrap.id, note.id], [note.id, wrap.id])
            for client in (sender, recipient, other):
                await client.shutdown()

    asyncio.run(scenario())


async def live(client: Any, number: int) -> list[str]:
    """Return the ids of the next *number* new events nostr-sdk's client is told of."""
    notifications, ids = client.notifications(), []
    while len(ids) < number:
        told = await asyncio.wait_for(notifications.next(), 10)
        if told.is_new_event():
            ids.append(told.event.id().to_hex())
    return ids


def test_nostr_sdk_listens_counts_and_deletes_at_our_relay(tmp_path: Path) -> None:
    """Its own wraps come live to their recipient, are counted and deleted by nobody else."""

    async def scenario() -> None:
        nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
        (alice, alice_keys), (bob, bob_keys), (eve, eve_keys) = key(), key(), key()
        mine = nostr_sdk.Filter.from_json(json.dumps({"kinds": [1059], "#p": [bob.pubkey]}))
        everything = nostr_sdk.Filter.from_json("{}")
        rumor = nostr_sdk.EventBuilder(nostr_sdk.Kind(14), "ä\u2028").finalize_unsigned(
            alice_keys.public_key()
        )
        wraps = [nostr_sdk.nip59_make_gift_wrap(alice_keys, bob_keys.public_key(), rumor) for _ in range(3)]
        ids = [wrap.id().to_hex() for wrap in wraps]
        policy = Policy(allowed={alice.pubkey, bob.pubkey, eve.pubkey})
        async with running_relay(tmp_path, policy) as url:
            sender, recipient, other = [
                await connected(url, keys) for keys in (alice_keys, bob_keys, eve_keys)
            ]
            heard = asyncio.ensure_future(live(recipient, 3))
            overheard = asyncio.ensure_future(live(other, 1))
            await recipient.subscribe(nostr_sdk.ReqTarget.auto([mine]))
            await other.subscribe(nostr_sdk.ReqTarget.auto([everything]))
            for wrap in wraps:
                assert (await sender.send_event(wrap)).failed == {}
            assert await heard == ids

            async def counted(client: Any, asked: Any) -> int:
                relay = await client.relay(nostr_sdk.RelayUrl.parse(url))
                number: int = await relay.count_events(asked, timedelta(seconds=5))
                return number

            assert [await counted(recipient, asked) for asked in (mine, everything)] == [3, 3]
            assert await counted(other, everything) == 0
            for author, left in ((eve, 3), (bob, 2)):
                deletion = theirs(signed(author, 5, (("e", ids[0]), ("k", "1059"))))
                assert (await sender.send_event(deletion)).failed == {}
                assert await counted(recipient, mine) == left
            assert "blocked" in next(iter((await sender.send_event(wraps[0])).failed.values()))
            note = signed(alice)
            await sender.send_event(theirs(note))
            assert (await overheard)[0] not in ids
            for client in (sender, recipient, other):
                await client.shutdown()

    asyncio.run(scenario())


class Sink:
    """Remembers what the listener stores."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.syncs: list[int] = []
        self.troubles: list[PowdoError] = []

    def last_sync(self, relay: str) -> int | None:
        return None

    def store(self, relay: str, event: Event) -> None:
        if event.id not in self.events:
            self.events.append(event.id)

    def synced(self, relay: str, at: int) -> None:
        self.syncs.append(at)

    def trouble(self, relay: str, error: PowdoError) -> None:
        self.troubles.append(error)

    def said(self, relay: str, message: str) -> None:
        pass


def test_our_clients_at_nostr_sdks_relay() -> None:
    """At a foreign relay that wants AUTH for everything we publish, and read all of ours page by page."""

    async def scenario() -> None:
        nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
        mode = nostr_sdk.LocalRelayBuilderNip42Mode.BOTH
        builder = nostr_sdk.LocalRelayBuilder().addr("127.0.0.1").auth_dm(True).max_filter_limit(7)
        relay = builder.nip42(nostr_sdk.LocalRelayBuilderNip42(mode=mode)).build()
        await relay.run()
        url = str(await relay.url())
        (alice, _), (bob, _), (eve, _) = key(), key(), key()
        now = int(time.time())
        wraps = [wrap_for(bob.pubkey, created_at=now - 4000 * number) for number in range(25)]

        def answer(secret: SecretKey) -> Any:
            return lambda challenge, address: auth_event(
                challenge, address, secret, int(time.time()), secrets.token_bytes(32)
            )

        def publish() -> None:
            with RelayClient(url, timeout=5, sign_auth=answer(alice)) as publisher:
                for wrap in (*wraps, wrap_for(eve.pubkey)):
                    publisher.publish(wrap)

        await asyncio.to_thread(publish)
        sink = Sink()
        plan = Plan(
            relays=[url],
            filter=Filter(kinds=(1059, 21059), tags={"p": (bob.pubkey,)}),
            sign_auth=answer(bob),
            timeout=5,
            until_eose=True,
        )
        await listen(plan, sink, asyncio.Event())
        assert sink.troubles == []
        assert sorted(sink.events) == sorted(wrap.id for wrap in wraps)
        assert len(sink.syncs) == 1
        relay.shutdown()

    asyncio.run(scenario())
