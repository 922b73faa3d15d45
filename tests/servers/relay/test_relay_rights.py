"""A public key taken off the list, while its connections are open."""

from __future__ import annotations

import asyncio
from pathlib import Path

from relay_helpers import client, mined_wrap, new_key, running_relay, signed, wrap_for

from powdo.servers.allowlist import Allowlist
from powdo.servers.relay.policy import Policy

ALICE, BOB = new_key(), new_key()


def test_who_is_removed_writes_no_more_and_reads_their_own_mail(tmp_path: Path) -> None:
    """Open connections lose their rights at once; their subscriptions and their own wraps stay theirs."""
    allowlist = Allowlist(tmp_path / "allowlist.json", [ALICE.pubkey])
    allowlist.add(BOB.pubkey)

    async def scenario() -> None:
        policy = Policy(allowed=allowlist, min_pow=1)
        async with (
            running_relay(tmp_path, policy) as url,
            client(url, ALICE) as alice,
            client(url, BOB) as bob,
            client(url) as stranger,
        ):
            before, after = wrap_for(BOB.pubkey), wrap_for(BOB.pubkey)
            assert await bob.publish(signed(BOB)) == (True, "")
            assert await alice.publish(before) == (True, "")
            assert await bob.ids({"kinds": [1059], "#p": [BOB.pubkey]}) == [before.id]
            allowlist.remove(BOB.pubkey)
            for event in (signed(BOB), wrap_for(BOB.pubkey), signed(BOB, 5, (("e", before.id),))):
                assert await bob.publish(event) == (False, "restricted: not on the allowlist")
            accepted, message = await bob.publish(wrap_for(ALICE.pubkey))
            assert (accepted, message.partition(":")[0]) == (False, "pow")
            assert (await stranger.publish(mined_wrap(BOB.pubkey, 1)))[0] is False
            assert await alice.publish(after) == (True, "")
            assert (await bob.hear())[2]["id"] == after.id
            found = await bob.ids({"kinds": [1059], "#p": [BOB.pubkey]})
            assert set(found) == {before.id, after.id}
            allowlist.add(BOB.pubkey)
            assert await bob.publish(signed(BOB, content="back")) == (True, "")

    asyncio.run(scenario())
