"""The relay beside PyPI's nostr-relay, and beside strfry where its binary is at hand.

    python -m venv .venv-nostr-relay && .venv-nostr-relay/bin/pip install nostr-relay
    python benchmarks/relay.py [--strfry PATH] [--stored 100000] [--rounds 5]

All of them hold the same gift wraps of 2.5 KB, 500 for each recipient, and are asked in turns:
- writes: new wraps, 8 connections with 32 under way on each, until OK; powdo's are durable by then, strfry's
  but for the last transaction, nostr-relay's (synchronous=NORMAL) but for a power failure;
- queries: the 500 newest wraps of one recipient by kind and #p, one connection, one after another;
- fan-out: a wrap every 20 ms to 100 subscribers, from the moment it is sent to that of each arrival;
- idle: 1000 connections with a subscription each, memory that no file backs.
powdo runs as it is set up by default: publishers and readers authenticate, wraps are shown to their
recipients only, all limits hold. The peers serve everything to everybody. These figures are wall time,
medians of the rounds, with the client on the same machine; the server's CPU time stands beside.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import measure
import orjson
import relay_peers
from relay_peers import Peer
from relay_wire import Wire, frame, message

from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned, sign

SIZE = 2528
READ = 10
WRITES = 3000
QUERIES = 40
PAGE = 500
SUBSCRIBERS = 100
LIVE = 150
PAUSE = 0.02
IDLE = 1000

Results = dict[str, dict[str, list[float]]]


def wrap(recipient: str, created_at: int) -> bytes:
    """Return the JSON of a gift wrap by a one-time key, `SIZE` bytes long."""
    key = SecretKey(os.urandom(32))
    content = "A" * (SIZE - 367)  # the length of base64 is what matters here, not what it says
    event = sign(
        Unsigned(key.pubkey, created_at, 1059, (("p", recipient),), content), key, os.urandom(32)
    ).to_json()
    return orjson.dumps(event)


def backdated() -> int:
    """Return a time an hour to two days ago, as NIP-59 dates wraps."""
    return int(time.time()) - random.randint(3600, 2 * 86400)  # noqa: S311  # dates need no secrecy


async def publish(wires: Sequence[Wire], raws: Sequence[bytes], under_way: int = 32) -> float:
    """Return the seconds until all of *raws* have their OK. Raises: RuntimeError when one is refused."""
    frames = iter([frame(b'["EVENT",' + raw + b"]") for raw in raws])
    done = asyncio.get_running_loop().create_future()
    left = len(raws)

    def sender(wire: Wire) -> Callable[[bytes], None]:
        def heard(text: bytes) -> None:
            nonlocal left
            if not text.startswith(b'["OK"') or done.done():
                return
            if b"true" not in text[:90]:
                done.set_exception(RuntimeError(f"refused: {text!r}"))
                return
            left -= 1
            if not left:
                done.set_result(None)
            if following := next(frames, None):
                wire.transport.write(following)

        return heard

    begun = time.perf_counter()
    for wire in wires:
        wire.heard = sender(wire)
        wire.transport.write(b"".join(each for _, each in zip(range(under_way), frames, strict=False)))
    await done
    return time.perf_counter() - begun


class World:
    """What all relays hold, and who may do what."""

    def __init__(self, stored: int) -> None:
        self.writer = SecretKey(os.urandom(32))
        self.readers = [SecretKey(os.urandom(32)) for _ in range(max(READ, stored // PAGE))]

    def wraps(self, count: int) -> list[bytes]:
        """Return *count* new wraps, as many for each recipient."""
        return [wrap(self.readers[n % len(self.readers)].pubkey, backdated()) for n in range(count)]

    async def open(self, peer: Peer, keys: Sequence[SecretKey]) -> Wire:
        """Return a connection, authenticated where the relay asks for it."""
        wire = await Wire.open(peer.url)
        if peer.authenticates and keys:
            await wire.authenticate(peer.url, keys)
        return wire

    async def store(self, peer: Peer, raws: Sequence[bytes]) -> float:
        """Return the seconds it takes to publish *raws*."""
        wires = [await self.open(peer, [self.writer]) for _ in range(8)]
        try:
            return await publish(wires, raws)
        finally:
            for wire in wires:
                wire.close()

    async def query(self, peer: Peer) -> float:
        """Return the seconds of `QUERIES` pages. Raises: RuntimeError when one is not whole."""
        readers = self.readers[:READ]
        wire = await self.open(peer, readers)
        try:
            begun = time.perf_counter()
            for number in range(QUERIES):
                count = await page(wire, readers[number % READ].pubkey)
                if count != PAGE:
                    raise RuntimeError(f"{peer.name} shows {count} of {PAGE}")
            return time.perf_counter() - begun
        finally:
            wire.close()

    async def fan_out(self, peer: Peer) -> list[float]:
        """Return the seconds to each arrival at each subscriber."""
        reader = SecretKey(os.urandom(32))
        raws = [wrap(reader.pubkey, int(time.time())) for _ in range(LIVE)]
        publisher = await self.open(peer, [self.writer])
        subscribers = [await self.open(peer, [reader]) for _ in range(SUBSCRIBERS)]
        asked = {"kinds": [1059], "#p": [reader.pubkey], "since": int(time.time()) - 60}
        for subscriber in subscribers:
            subscriber.transport.write(message("REQ", "live", asked))
            await subscriber.hear(b"EOSE")
        try:
            return await _arrivals(publisher, subscribers, raws)
        finally:
            for wire in (publisher, *subscribers):
                wire.close()


async def page(wire: Wire, recipient: str) -> int:
    """Return how many events the relay shows when *recipient*'s `PAGE` newest wraps are asked for."""
    count = 0
    done = asyncio.get_running_loop().create_future()

    def heard(text: bytes) -> None:
        nonlocal count
        if text.startswith(b'["EVENT"'):
            count += 1
        elif not done.done():
            done.set_result(text)

    wire.heard = heard
    wire.transport.write(message("REQ", "page", {"kinds": [1059], "#p": [recipient], "limit": PAGE}))
    await asyncio.wait_for(done, 60)
    wire.transport.write(message("CLOSE", "page"))
    return count


async def _arrivals(publisher: Wire, subscribers: Sequence[Wire], raws: Sequence[bytes]) -> list[float]:
    sent: list[float] = []
    taken: list[float] = []
    done = asyncio.get_running_loop().create_future()

    def subscriber() -> Callable[[bytes], None]:
        seen = 0

        def heard(text: bytes) -> None:
            nonlocal seen
            if text.startswith(b'["EVENT"'):
                taken.append(time.perf_counter() - sent[seen])
                seen += 1
                if len(taken) == len(raws) * len(subscribers):
                    done.set_result(None)

        return heard

    for wire in subscribers:
        wire.heard = subscriber()
    for raw in raws:
        sent.append(time.perf_counter())
        publisher.transport.write(frame(b'["EVENT",' + raw + b"]"))
        await asyncio.sleep(PAUSE)
    await asyncio.wait_for(done, 60)
    return taken


async def idle(peer: Peer) -> float:
    """Return the bytes of memory that one idle connection with one subscription takes."""
    before = peer.anonymous()
    wires = []
    for _ in range(IDLE):
        wire = await Wire.open(peer.url)
        wire.transport.write(message("REQ", "idle", {"kinds": [1], "limit": 1}))
        await wire.hear(b"EOSE")
        wires.append(wire)
    await asyncio.sleep(1)
    taken = (peer.anonymous() - before) / IDLE
    for wire in wires:
        wire.close()
    return taken


async def rounds(world: World, peers: Sequence[Peer], count: int) -> Results:
    """Return what every peer did in each of *count* rounds."""
    found: Results = {peer.name: {} for peer in peers}

    def note(peer: Peer, what: str, value: float) -> None:
        found[peer.name].setdefault(what, []).append(value)

    for number in range(count):
        raws = world.wraps(WRITES)
        for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
            gc.collect()
            before = peer.cpu()
            note(peer, "writes/s", WRITES / await world.store(peer, raws))
            note(peer, "CPU us a write", 1e6 * (peer.cpu() - before) / WRITES)
            before = peer.cpu()
            note(peer, "queries/s", QUERIES / await world.query(peer))
            note(peer, "CPU ms a query", 1e3 * (peer.cpu() - before) / QUERIES)
            arrivals = sorted(await world.fan_out(peer))
            note(peer, "fan-out p50 ms", 1e3 * statistics.median(arrivals))
            note(peer, "fan-out p99 ms", 1e3 * arrivals[int(len(arrivals) * 0.99)])
    return found


Starter = Callable[[Path], AbstractContextManager[Peer]]


def starters(arguments: argparse.Namespace, world: World) -> dict[str, Starter]:
    """Return how each relay is started in a folder."""
    made: dict[str, Starter] = {"powdo": lambda folder: relay_peers.powdo(folder, [world.writer.pubkey])}
    if arguments.nostr_relay.exists():
        made["nostr-relay"] = lambda folder: relay_peers.nostr_relay(folder, arguments.nostr_relay)
    else:
        measure.write(f"no {arguments.nostr_relay}: see --help for how to install nostr-relay")
    if arguments.strfry:
        made["strfry"] = lambda folder: relay_peers.strfry(folder, arguments.strfry)
    return made


def judge(found: Results) -> None:
    """Write the medians, and the ratios beside their goals."""
    medians = {name: {what: statistics.median(v) for what, v in each.items()} for name, each in found.items()}
    for what in next(iter(medians.values())):
        row = "".join(f"{name} {each[what]:10.1f}   " for name, each in medians.items())
        measure.write(f"{what:<18} {row}")
    ours = found["powdo"]
    for peer, writes, queries in (("nostr-relay", 9, 6), ("strfry", 1, 0.5)):
        if peer in found:
            write_ratio = measure.ratio({"a": ours["writes/s"], "b": found[peer]["writes/s"]}, "a", "b")
            query_ratio = measure.ratio({"a": ours["queries/s"], "b": found[peer]["queries/s"]}, "a", "b")
            measure.at_least(f"writes, beside {peer}", write_ratio, writes)
            measure.at_least(f"queries of {PAGE}, beside {peer}", query_ratio, queries)
    p99, memory = medians["powdo"]["fan-out p99 ms"], medians["powdo"]["idle kB"]
    measure.write(f"{'fan-out p99':<52} {p99:10.2f} ms  goal <= 8     {'met' if p99 <= 8 else 'MISSED'}")
    measure.write(
        f"{'an idle connection':<52} {memory:10.2f} kB  goal <= 25    {'met' if memory <= 25 else 'MISSED'}"
    )


def batches(raws: Sequence[bytes], size: int = 10_000) -> Iterator[Sequence[bytes]]:
    """Return *raws* in parts."""
    return (raws[at : at + size] for at in range(0, len(raws), size))


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = measure.ROOT / ".venv-nostr-relay/bin/nostr-relay"
    parser.add_argument("--nostr-relay", type=Path, default=default, metavar="PATH")
    parser.add_argument("--strfry", type=Path, metavar="PATH")
    parser.add_argument(
        "--stored",
        type=int,
        default=100_000,
        metavar="N",
        help="hold N wraps",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    measure.headline(
        f"Relays over {arguments.stored} stored wraps of {SIZE} bytes, wall time unless it says CPU"
    )
    world = World(arguments.stored)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        made = starters(arguments, world)
        memory = {}
        for each, start in made.items():
            with start(folder / f"{each}-idle") as peer:
                memory[each] = asyncio.run(idle(peer)) / 1000
        peers = [stack.enter_context(start(folder / each)) for each, start in made.items()]
        stored = world.wraps(arguments.stored)
        for peer in peers:
            for part in batches(stored):
                asyncio.run(world.store(peer, part))
        del stored
        found = asyncio.run(rounds(world, peers, arguments.rounds))
        for each, taken in memory.items():
            found[each]["idle kB"] = [taken]
        judge(found)


if __name__ == "__main__":
    main()
