"""Attempts at proof of work per CPU second: powdo's kernels, other miners, and what the processor can do.

    python benchmarks/pow.py
    NOSTRIL=/path/to/nostril python benchmarks/pow.py

A note of 300 bytes hashes four blocks an attempt, a gift wrap of 2560 bytes 39. The limit is what a loop of
nothing but sha256rnds2 issues in the same round, 32 for a block; a chain of additions tells the clock. What
peers tried is told by their nonces. nostr-tools needs node and `tests/real/node_modules` (as `bin/test` sets
it up), the limit a C compiler and SHA-NI.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import measure
import pow_peers

from powdo.adapters.miner.choosing import fastest
from powdo.adapters.miner.native import NativeMiner, kernels, scan_once
from powdo.nips.event import Unsigned
from powdo.nips.pow_template import MAX_TARGET, Template, make_template

ROUNDS = 9
SECONDS = 0.3
ROUNDS_A_BLOCK = 32


def event_of(size: int) -> Unsigned:
    """Return an event whose serialization with a nonce has *size* bytes, its nonce early."""
    tags = (("p", "0" * 64),) if size > 1000 else ()
    event = Unsigned("0" * 64, 1_795_000_000, 1059 if tags else 1, tags, "")
    empty = len(make_template(event, 20).message)
    return event._replace(content="x" * (size - empty))


def kernel(name: str, template: Template) -> pow_peers.Work:
    """Return one thread of a kernel, which says its CPU seconds for a million attempts."""

    def work() -> float:
        begin = time.thread_time()
        attempts, _, _ = scan_once(
            name, template.head, template.tail, template.digits, MAX_TARGET, template.turns.start, 1, SECONDS
        )
        return (time.thread_time() - begin) / attempts * 1e6

    return work


class Limit:
    """The micro loop, compiled once; *clock* and *rounds* are what its last run told."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "limit"
        source = Path(__file__).parent / "pow_limit.c"
        subprocess.run(["cc", "-O2", "-o", self._program, source], check=True)
        self.clock = self.rounds = 0.0

    def of(self, blocks: int) -> pow_peers.Work:
        """Return what says the CPU seconds of a million attempts of so many blocks at the limit."""

        def work() -> float:
            done = subprocess.run([self._program], capture_output=True, check=True)
            self.clock, self.rounds = map(float, done.stdout.split())
            return 1e6 * blocks * ROUNDS_A_BLOCK / self.rounds

        return work


def scaling(template: Template, name: str) -> None:
    """Write how two threads compare with one: by the clock, and by the CPU time they take together."""
    wall: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    with closing(NativeMiner(name, 1)) as one, closing(NativeMiner(name, 2)) as two:
        for _ in range(ROUNDS):
            for miner in (one, two):
                begin, used = time.monotonic(), time.process_time()
                attempts = miner.work(template, template.turns.start, SECONDS).attempts
                wall[miner.workers].append(attempts / (time.monotonic() - begin))
                cpu[miner.workers].append(attempts / (time.process_time() - used))
    ratios = [b / a for a, b in zip(wall[1], wall[2], strict=True)]
    measure.plain("two threads / one, by the clock (best of the rounds)", max(ratios))
    measure.at_least(
        "two threads / one, per CPU second each",
        2 * statistics.median(cpu[2]) / statistics.median(cpu[1]),
        1.9,
    )


def run(size: int, goal: float, limit: Limit | None) -> None:
    """Measure events of *size* bytes and write ratios beside goals."""
    event = event_of(size)
    template = make_template(event, MAX_TARGET)
    best = fastest()
    works: dict[str, pow_peers.Work] = {f"powdo {name}": kernel(name, template) for name in kernels()}
    works["hashlib"] = pow_peers.hashlib(event)
    for name, peer in (
        ("nostr-sdk", pow_peers.nostr_sdk),
        ("nostr-tools", pow_peers.nostr_tools),
        ("nostril", pow_peers.nostril),
    ):
        work = peer(event)
        if work is None:
            measure.write(f"{name} is not there: its rows are missing")
        else:
            works[name] = work
    if limit is not None:
        works["limit"] = limit.of(template.blocks)
    rounds = measure.in_turns(works, ROUNDS)
    measure.write(f"\n{size} bytes, {template.blocks} blocks an attempt; million attempts per CPU second:")
    for name, taken in rounds.items():
        measure.write(f"{name:<52} {1 / statistics.median(taken):10.3f}")
    ours = f"powdo {best}"
    if limit is not None:
        share = measure.ratio(rounds, "limit", ours)
        measure.at_least(f"{ours} / limit", share, goal)
        measure.write(
            f"clock {limit.clock / 1e9:.2f} GHz, {limit.clock / limit.rounds:.2f} cycles a sha256rnds2"
        )
    goals = {"hashlib": 12.0, "nostr-sdk": 15.0} if size < 1000 else {"nostr-sdk": 15.0}
    for name in ("hashlib", "nostr-sdk", "nostr-tools", "nostril"):
        if name not in rounds:
            continue
        speed = measure.ratio(rounds, name, ours)
        if name in goals:
            measure.at_least(f"{ours} / {name}", speed, goals[name])
        else:
            measure.plain(f"{ours} / {name}", speed)
    scaling(template, best)


def main() -> None:
    """Measure both sizes."""
    measure.headline("Proof of work, attempts per CPU second of one thread")
    if not kernels():
        measure.write("powdo was installed without its C extension: there is nothing to compare")
        return
    with tempfile.TemporaryDirectory() as folder:
        limit = None
        if "sha-ni" in kernels() and shutil.which("cc"):
            limit = Limit(Path(folder))
        run(300, 0.7, limit)
        run(2560, 0.8, limit)


if __name__ == "__main__":
    main()
