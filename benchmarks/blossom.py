"""The Blossom server beside hzrd149/blossom-server, nginx and a bare loop.

    npm install deno && apt-get install nginx-light
    git clone https://github.com/hzrd149/blossom-server && (cd blossom-server && deno cache main.ts)
    python benchmarks/blossom.py [--reference DIR] [--deno PATH] [--nginx PATH] [--rounds 5]

All of them are asked in turns, over 1 and over 8 connections that stay open:
- uploads of new blobs of 300 KB and 20 MB, each with its own token, until the descriptor is there. powdo's
  are durable by then, as are those of the bare loop (receive, sha256, write, fsync; no HTTP, no token, no
  row); the reference server syncs nothing;
- downloads of blobs of the same sizes, out of the page cache;
- memory: the peak of the resident set while 8 blobs of 20 MB are under way.
powdo runs as it is set up by default, for one key on its list. Rates are wall time, with the client on the
same machine; the server's CPU time stands beside. What one server leaves to be written is written before
the next is asked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import blossom_peers
import measure
import processes
from blossom_peers import Peer
from blossom_wire import Request, download, send_all, uploads

from powdo.nips.curve import SecretKey

SMALL, LARGE = 300_000, 20_000_000
UPLOADS = {(SMALL, 1): 150, (SMALL, 8): 400, (LARGE, 1): 8, (LARGE, 8): 16}
DOWNLOADS = {(SMALL, 1): 500, (SMALL, 8): 1000, (LARGE, 1): 20, (LARGE, 8): 40}
#: How many blobs of a size are downloaded, over and over.
HELD = 4

#: For each peer and work: of each round the requests a second, and the CPU seconds of one.
Results = dict[str, dict[str, list[tuple[float, float]]]]


def told(what: str, size: int, connections: int) -> str:
    """Return how a work is called."""
    return f"{what} {'300 KB' if size == SMALL else '20 MB'} x{connections}"


def timed(peer: Peer, requests: Sequence[Request], connections: int) -> tuple[float, float]:
    """Return the requests a second, and the CPU seconds of one."""
    os.sync()  # what others have left to be written
    before = peer.cpu()
    seconds = send_all(peer.url, requests, connections)
    return len(requests) / seconds, (peer.cpu() - before) / len(requests)


def stock(peers: Sequence[Peer], key: SecretKey) -> dict[int, list[Request]]:
    """Put the same blobs into every server that serves; return the requests for them."""
    found = {}
    for size in (SMALL, LARGE):
        made = uploads(HELD, size, key)
        for peer in peers:
            if peer.files is not None:
                for each in made:
                    (peer.files / each.sha256).write_bytes(each.body)
            elif peer.serves:
                send_all(peer.url, made, 1)
        found[size] = [download(each.sha256, size) for each in made]
    return found


def rounds(peers: Sequence[Peer], key: SecretKey, count: int) -> Results:
    """Return what every peer did in each of *count* rounds."""
    held = stock(peers, key)
    found: Results = {peer.name: {} for peer in peers}
    for number in range(count):
        turn = [*peers[number % len(peers) :], *peers[: number % len(peers)]]
        for (size, connections), times in UPLOADS.items():
            made = uploads(times, size, key)
            for peer in turn:
                if peer.files is None:
                    taken = timed(peer, made, connections)
                    found[peer.name].setdefault(told("PUT", size, connections), []).append(taken)
        for (size, connections), times in DOWNLOADS.items():
            for peer in turn:
                if peer.serves:
                    taken = timed(peer, held[size] * (times // HELD), connections)
                    found[peer.name].setdefault(told("GET", size, connections), []).append(taken)
    return found


def peak(peer: Peer, key: SecretKey) -> float:
    """Return the megabytes that are resident at most while 8 uploads of 20 MB are under way."""
    processes.forget_peak(peer.pid)
    send_all(peer.url, uploads(16, LARGE, key), 8)
    return processes.memory(peer.pid, "VmHWM") / 1e6


def table(found: Results) -> None:
    """Write the medians."""
    for work in dict.fromkeys(work for each in found.values() for work in each):
        row = ""
        for name, each in found.items():
            if work in each:
                rate, cpu = (statistics.median(values) for values in zip(*each[work], strict=True))
                row += f"   {name} {rate:8.1f}/s {1000 * cpu:7.2f} ms CPU"
        measure.write(f"{work:<14}{row}")


def judge(found: Results) -> None:
    """Write the ratios beside their goals: of rates, and of CPU time."""
    goals = (
        ("reference", "PUT", SMALL, 2.5),
        ("reference", "PUT", LARGE, 2.5),
        ("bare loop", "PUT", LARGE, 0.5),
        ("reference", "GET", SMALL, 2),
        ("nginx", "GET", LARGE, 0.5),
    )
    measure.write()
    for peer, what, size, goal in goals:
        if peer not in found:
            continue
        for connections in (1, 8):
            work = told(what, size, connections)
            ours, theirs = found["powdo"][work], found[peer][work]
            rates = {"ours": [each[0] for each in ours], "theirs": [each[0] for each in theirs]}
            times = {"ours": [each[1] for each in ours], "theirs": [each[1] for each in theirs]}
            measure.at_least(f"{work}, beside {peer}", measure.ratio(rates, "ours", "theirs"), goal)
            measure.plain("  by CPU time of the server", measure.ratio(times, "theirs", "ours"))


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, metavar="DIR", help="a checkout of blossom-server")
    parser.add_argument("--deno", default=shutil.which("deno"), metavar="PATH")
    parser.add_argument("--nginx", default=shutil.which("nginx"), metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    return parser.parse_args()


def main() -> None:
    """Run it all."""
    options = arguments()
    key = SecretKey(os.urandom(32))
    measure.headline("Blossom servers, wall time unless it says CPU")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        peers = [
            stack.enter_context(blossom_peers.powdo(folder / "powdo", key.pubkey)),
            stack.enter_context(blossom_peers.bare(folder / "bare")),
        ]
        if options.reference and options.deno:
            reference = blossom_peers.reference(folder / "reference", options.reference, options.deno)
            peers.append(stack.enter_context(reference))
        else:
            measure.write("no --reference, or no deno: see --help for how to get them")
        if options.nginx:
            peers.append(stack.enter_context(blossom_peers.nginx(folder / "nginx", options.nginx)))
        else:
            measure.write("no nginx: see --help for how to get it")
        memory = {peer.name: peak(peer, key) for peer in peers if peer.files is None and peer.serves}
        found = rounds(peers, key, options.rounds)
        table(found)
        judge(found)
        for each, megabytes in memory.items():
            goal = f"goal < 80     {'met' if megabytes < 80 else 'MISSED'}" if each == "powdo" else ""
            measure.write(f"{f'{each}, resident with 8 x 20 MB':<52} {megabytes:10.1f} MB  {goal}")


if __name__ == "__main__":
    main()
