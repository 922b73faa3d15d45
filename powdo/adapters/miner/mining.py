"""Mining one event to its end: slices of a tenth of a second, between which others are heard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from powdo.nips.event import Unsigned
from powdo.nips.pow_search import Miner, Search

SLICE = 0.1


def start() -> int:
    """Return a random number for a search to start from."""
    return int.from_bytes(os.urandom(8), "big")


def mine(
    miner: Miner,
    event: Unsigned,
    target: int,
    *,
    seconds: float | None = None,
    progress: Callable[[int], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> Unsigned | None:
    """Return *event* with a nonce that gives its id *target* bits.

    None when *seconds* are over or *interrupted* says so, which is asked between slices; *progress* is told
    the attempts of each. Raises: BadRecordError.
    """
    search = Search(event, target, start())
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
        if left <= 0 or (interrupted is not None and interrupted()):
            return None
        template, first = search.work(int(time.time()))
        done = miner.work(template, first, left)
        mined = search.took(done)
        if progress is not None:
            progress(done.attempts)
        if mined is not None:
            return mined
