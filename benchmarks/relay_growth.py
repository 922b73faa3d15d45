"""What a relay's queries cost when a hundred times as much is stored, and what a start and a sweep cost then.

    python benchmarks/relay_growth.py [--stored 1000000] [--rounds 5]

The store is filled directly, without signatures: with wraps of 2.5 KB, 500 for each recipient, and 50,000 for
one. A million take 3 GB in the temporary folder for some minutes. Then a relay serves each store, and
recipients drawn at random ask for their newest 500; a figure is the relay's CPU time for one such page, the
median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import measure
import relay
import relay_peers
from relay_peers import Peer
from relay_wire import Wire

from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.store import Store
from powdo.servers.relay.writing import Outcome, Write

SIZE = 2528
PAGE = 500
SMALL = 10_000
WIRES = 10
KEYS = 16
HEAVY = 50_000
AT_ONCE = 256
EXPIRED = 100_000
PAUSE = 0.005
CONTENT = "A" * (SIZE - 367)


def hex32() -> str:
    """Return 32 random bytes."""
    return os.urandom(32).hex()


def wrap(recipient: str) -> Write:
    """Return a wrap that came just now and is dated up to two days earlier."""
    now = int(time.time())
    created_at = now - random.randint(0, 2 * 86400)  # noqa: S311  # dates need no secrecy
    tags = (("p", recipient),)
    event = Event(hex32(), hex32(), created_at, 1059, tags, CONTENT, os.urandom(64).hex())
    return Write(event, event.to_bytes(), None, now)


class Filled:
    """A running store."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder, self._delivered, Limits())
        self._left = 0
        self._done = asyncio.Event()

    def _delivered(self, outcomes: Sequence[tuple[Write, Outcome]]) -> None:
        self._left -= len(outcomes)
        if not self._left:
            self._done.set()

    def start(self) -> None:
        """Begin to write."""
        self._store.start(asyncio.get_running_loop())

    def close(self) -> None:
        """End."""
        self._store.close()

    async def write(self, writes: Sequence[Write]) -> float:
        """Return the seconds until *writes* are durable."""
        self._left = len(writes)
        self._done.clear()
        begun = time.perf_counter()
        for each in writes:
            self._store.submit(each)
        await self._done.wait()
        return time.perf_counter() - begun

    async def fill(self, count: int, recipients: Sequence[str]) -> None:
        """Write *count* wraps, in turns for each of *recipients*."""
        for at in range(0, count, AT_ONCE):
            numbers = range(at, min(at + AT_ONCE, count))
            await self.write([wrap(recipients[number % len(recipients)]) for number in numbers])


async def fill(folder: Path, count: int, recipients: Sequence[SecretKey], heavy: SecretKey | None) -> None:
    """Make a store of *count* wraps in *folder*."""
    store = Filled(folder)
    store.start()
    if heavy is not None:
        await store.fill(HEAVY, [heavy.pubkey])
        count -= HEAVY
    await store.fill(count, [key.pubkey for key in recipients])
    await asyncio.to_thread(store.close)


async def pages(peer: Peer, keys: Sequence[SecretKey]) -> float:
    """Return the CPU milliseconds of a page, asked by readers who have all of *keys*."""
    wires = []
    for at in range(0, len(keys), KEYS):
        wire = await Wire.open(peer.url)
        await wire.authenticate(peer.url, keys[at : at + KEYS])
        wires.append(wire)
    begun = peer.cpu()
    for number, key in enumerate(keys):
        if await relay.page(wires[number // KEYS], key.pubkey) != PAGE:
            raise RuntimeError("a page is not whole")
    taken = peer.cpu() - begun
    for wire in wires:
        wire.close()
    return 1000 * taken / len(keys)


def queries(folder: Path, stored: int, rounds: int) -> None:
    """Write what a page costs among few wraps, among many, and of a recipient of many."""
    few, many, heavy = keys(SMALL // PAGE), keys((stored - HEAVY) // PAGE), keys(1)[0]
    asyncio.run(fill(folder / "small/store", SMALL, few, None))
    asyncio.run(fill(folder / "large/store", stored, many, heavy))
    taken: dict[str, list[float]] = {}
    with ExitStack() as stack:
        small, large = (
            stack.enter_context(relay_peers.powdo(folder / name, [])) for name in ("small", "large")
        )
        for number in range(rounds + 1):
            for name, peer, choice in (
                (f"among {SMALL}", small, few),
                (f"among {stored}", large, many),
                (f"of {HEAVY} for one, among {stored}", large, [heavy]),
            ):
                drawn = random.choices(choice, k=WIRES * KEYS)  # noqa: S311
                milliseconds = asyncio.run(pages(peer, drawn))
                if number:  # the first one warms the caches
                    taken.setdefault(name, []).append(milliseconds)
    medians = {name: statistics.median(each) for name, each in taken.items()}
    for name, median in medians.items():
        measure.write(f"{f'a page of {PAGE} {name}':<52} {median:10.2f} ms CPU")
    least = medians[f"among {SMALL}"]
    for name, median in list(medians.items())[1:]:
        measure.at_most(f"{name}, beside {SMALL}", median / least, 1.5)


def keys(count: int) -> list[SecretKey]:
    """Return *count* new keys."""
    return [SecretKey(os.urandom(32)) for _ in range(count)]


async def start_and_sweep(folder: Path) -> None:
    """Write how long a start takes, and how long a write waits while much that has expired goes."""
    begun = time.perf_counter()
    store = Filled(folder)
    measure.write(f"{'a start':<52} {1000 * (time.perf_counter() - begun):10.2f} ms")
    store.close()
    expired = min(EXPIRED, expire(folder))
    store = Filled(folder)
    store.start()
    recipient, waits, begun = hex32(), [], time.perf_counter()
    while left(folder):
        for _ in range(50):
            waits.append(1000 * await store.write([wrap(recipient)]))
            await asyncio.sleep(PAUSE)
    seconds = time.perf_counter() - begun
    waits.sort()
    measure.write(f"{f'to sweep {expired} expired wraps':<52} {seconds:10.2f} s")
    for name, at in (("median", 0.5), ("p99", 0.99), ("longest", 1.0)):
        value = waits[min(int(len(waits) * at), len(waits) - 1)]
        measure.write(f"{f'a write meanwhile, {name}':<52} {value:10.2f} ms")
    await asyncio.to_thread(store.close)


def expire(folder: Path) -> int:
    """Let `EXPIRED` of the stored events be over; return how many there were."""
    with sqlite3.connect(folder / "relay.sqlite") as db:
        changed = db.execute("UPDATE event SET expires = 1 WHERE seq % 7 = 0 AND seq <= ?", (7 * EXPIRED,))
        count = changed.rowcount
    db.close()
    return count


def left(folder: Path) -> int:
    """Return how many expired events are left."""
    db = sqlite3.connect(folder / "relay.sqlite")
    try:
        return int(db.execute("SELECT count(*) FROM event WHERE expires <= 1").fetchone()[0])
    finally:
        db.close()


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stored", type=int, default=1_000_000, metavar="N", help="hold N wraps")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    arguments = parser.parse_args()
    measure.headline(f"A relay with {arguments.stored} stored wraps of {SIZE} bytes")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        queries(folder, arguments.stored, arguments.rounds)
        asyncio.run(start_and_sweep(folder / "large/store"))


if __name__ == "__main__":
    main()
