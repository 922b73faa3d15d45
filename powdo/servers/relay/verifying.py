"""Ids and signatures are verified in a thread of their own, in the order the events came.

To verify takes longer than all else the loop does with an event, and libsecp256k1 lets go of the
interpreter meanwhile: the loop goes on reading, answering and passing on.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

from powdo.errors import PowdoError
from powdo.nips.event import Event

#: What is handed back together: few enough that the first does not wait long for the last.
_BATCH = 32

#: Called in the loop's thread with what is wrong with the event, or None.
Answer = Callable[[str | None], None]


class Verifier:
    """The thread; `submit` and all answers belong to the loop's."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Event, Answer] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to verify; answers are given in *loop*."""
        self._thread = threading.Thread(
            target=self._verify_all, args=(loop,), name="relay-verifier", daemon=True
        )
        self._thread.start()

    def waiting(self) -> int:
        """Return how many events wait for the thread."""
        return self._queue.qsize()

    def submit(self, event: Event, answer: Answer) -> None:
        """Have *event* verified."""
        self._queue.put((event, answer))

    def close(self) -> None:
        """Verify what waits, and end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _verify_all(self, loop: asyncio.AbstractEventLoop) -> None:
        item = self._queue.get()
        while item is not None:
            verified = []
            while item is not None:
                event, answer = item
                verified.append((answer, _problem(event)))
                if len(verified) == _BATCH or self._queue.empty():
                    break
                item = self._queue.get()
            try:
                loop.call_soon_threadsafe(_hand_on, verified)
            except RuntimeError:
                return  # the loop has ended, and with it all who wait
            item = item and self._queue.get()


def _hand_on(verified: list[tuple[Answer, str | None]]) -> None:
    for answer, problem in verified:
        answer(problem)


def _problem(event: Event) -> str | None:
    try:
        event.verify()
    except PowdoError as error:
        return error.message
    return None
