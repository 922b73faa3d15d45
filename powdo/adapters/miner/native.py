"""The miner that is the C extension, one thread a core: the GIL is released for a whole slice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from powdo.nips.pow_search import Slice
from powdo.nips.pow_template import Template

try:
    from powdo import _miner
except ImportError:  # there was no compiler
    _miner = None  # type: ignore[assignment]


def kernels() -> tuple[str, ...]:
    """Return the kernels that this processor can run, `scalar` last; none without the extension."""
    return () if _miner is None else _miner.kernels()


def scan_once(
    kernel: str, head: bytes, tail: bytes, digits: int, target: int, first: int, step: int, seconds: float
) -> tuple[int, int, int | None]:
    """Return attempts, turns and the nonce found by one thread, this one."""
    message = head + b"0" * digits + tail
    attempts, turns, nonce = _miner.scan(
        kernel, message, len(head), digits, target, first, step, seconds, bytearray(2)
    )
    return attempts, turns, nonce if nonce >= 0 else None


class NativeMiner:
    """Threads that run one kernel."""

    def __init__(self, kernel: str, workers: int) -> None:
        self.name = kernel
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers, "miner")
        #: The first ends a slice from outside, the second once one thread has a hit.
        self._flags = bytearray(2)

    def work(self, template: Template, first: int, seconds: float) -> Slice:
        """Return what all threads did in *seconds*; thread n takes every nth turn."""
        self._flags[1] = 0
        futures = [
            self._pool.submit(
                _miner.scan,
                self.name,
                template.message,
                len(template.head),
                template.digits,
                template.target,
                first + number,
                self.workers,
                seconds,
                self._flags,
            )
            for number in range(self.workers)
        ]
        results = [future.result() for future in futures]
        nonce = next((nonce for _, _, nonce in results if nonce >= 0), None)
        # a turn that was begun counts as done, and one more for the threads that are a turn ahead
        turns = (max(turns for _, turns, _ in results) + 1) * self.workers
        return Slice(sum(attempts for attempts, _, _ in results), turns, nonce)

    def stop(self) -> None:
        """End the slice under way within a millisecond or two, and those to come."""
        self._flags[0] = 1

    def resume(self) -> None:
        """Let slices be worked again."""
        self._flags[0] = 0

    def close(self) -> None:
        """Stop, and end the threads."""
        self.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
