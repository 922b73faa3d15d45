"""Telling the relay: the changes that wait, one by one, or the whole list at once.

Whoever sends holds the lock of the senders, so that no two runs tell the same key's changes at once, and
what one has read another does not settle.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from powdo.adapters.allow import order
from powdo.adapters.allow.client import Client, Counts
from powdo.adapters.allow.order import Change
from powdo.adapters.allow.state import State
from powdo.errors import KeyRejectedError, PeerProtocolError, PowdoError, RefusedError, RetryLaterError
from powdo.nips.bech32 import encode_npub

Connect = Callable[[], Client]

#: What says nothing of one key: the others would meet the same.
_OF_THE_RELAY = (KeyRejectedError, PeerProtocolError, RetryLaterError)


def flush(state: State, connect: Connect, *, everything: bool = False) -> list[PowdoError]:
    """Tell the relay what is due, or *everything* that waits, and return what went wrong.

    What the relay refuses for good leaves the queue; what it cannot or will not take now stays. *connect*
    is called only if there is something to tell; its own errors leave the queue as it is.
    """
    with state.sending():
        waiting = state.waiting()
        changes = waiting if everything else order.due(waiting, datetime.now(UTC))
        if not changes:
            return []
        client = connect()
        try:
            return _tell(state, client, changes)
        finally:
            client.close()


def _tell(state: State, client: Client, changes: list[Change]) -> list[PowdoError]:
    errors: list[PowdoError] = []
    gone: set[str] = set()
    kept: list[Change] = []
    try:
        for index, change in enumerate(changes):
            try:
                (client.add if change.action == "add" else client.remove)(change.pubkey)
                gone.add(change.id)
            except RefusedError as error:
                errors.append(
                    RefusedError(f"cannot {change.action} '{encode_npub(change.pubkey)}': {error.message}")
                )
                gone.add(change.id)
            except _OF_THE_RELAY as error:
                errors.append(error)
                kept = [_later(each, error) for each in changes[index:]]
                break
    finally:
        state.settle(gone, kept)  # also when a signal ends us here
    return errors


def _later(change: Change, error: PowdoError) -> Change:
    draw = random.random()  # noqa: S311  # spreads attempts, guards nothing
    return order.deferred(change, now=datetime.now(UTC), draw=draw, error=error.message)


def reconcile(state: State, client: Client, wanted: Callable[[], Collection[str]]) -> Counts:
    """Make the relay's list what *wanted* returns, and return what changed.

    What waited before *wanted* was called is told with it and leaves the queue; what is asked for
    meanwhile stays. Raises: as Client, and what *wanted* raises, with the queue as it was.
    """
    with state.sending():
        before = [change.id for change in state.waiting()]
        counts = client.sync(wanted())
        state.settle(before)
        return counts
