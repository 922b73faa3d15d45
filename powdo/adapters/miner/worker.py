"""What a process does that tries nonces with hashlib; `hashing` starts it.

It reads one JSON array a line, [head, tail, digits, target, first, step, seconds] with head and tail in hex,
and answers [attempts, turns, nonce or null]. It ends when its stdin does, so it never outlives its parent.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from hashlib import sha256

from powdo.nips.pow_template import TURN

#: Attempts between two looks at the clock, at most; fewer where an event is long.
_AT_ONCE = 1000
_BYTES_AT_ONCE = 1 << 21


def scan(
    head: bytes, tail: bytes, digits: int, target: int, first: int, step: int, seconds: float
) -> tuple[int, int, int | None]:
    """Return attempts, turns and the nonce that was found: what `powdo._miner.scan` does, by OpenSSL."""
    deadline = time.monotonic() + seconds
    limit = 1 << (256 - target)
    begun = sha256(head)
    at_once = max(10, min(_AT_ONCE, _BYTES_AT_ONCE // (len(tail) + 100)))
    endings = [b"%04d" % low + tail for low in range(TURN)] if len(tail) < 256 else None
    attempts = turns = 0
    for high in range(first, 10 ** (digits - 4), step):
        turn = begun.copy()
        turn.update(b"%d" % high)
        for low in range(0, TURN, at_once):
            for end in range(low, min(low + at_once, TURN)):
                state = turn.copy()
                state.update(endings[end] if endings else b"%04d" % end + tail)
                if int.from_bytes(state.digest(), "big") < limit:
                    return attempts + end - low + 1, turns, high * TURN + end
            attempts += min(at_once, TURN - low)
            if time.monotonic() >= deadline:
                return attempts, turns, None
        turns += 1
    return attempts, turns, None


def main() -> None:
    """Answer until stdin ends; the terminal's Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        head, tail, *rest = json.loads(line)
        sys.stdout.write(json.dumps(scan(bytes.fromhex(head), bytes.fromhex(tail), *rest)) + "\n")
        sys.stdout.flush()
