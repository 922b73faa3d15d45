"""Bodies on their way to the disk: what the threads do while the next bytes come."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from powdo.servers.blossom.receiving import Body
from powdo.servers.blossom.storage import Folder
from tests.blossom_server import sha


class _Slow:
    """A blob whose every write waits for *go*, and then fails if it has been discarded."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.discarded = False
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert self.go.wait(20)
        if self.discarded:
            raise OSError("discarded")
        self.written.append(data)

    def commit(self, sha256: str) -> None:
        raise AssertionError(sha256)

    def discard(self) -> None:
        self.discarded = True


def test_a_body_in_any_pieces_is_kept_as_it_came(tmp_path: Path) -> None:
    """Hash, length and bytes are right whether it fits into one piece or needs many."""
    folder = Folder(tmp_path)
    folder.prepare()

    async def receive(data: bytes, step: int) -> None:
        with ThreadPoolExecutor(2) as executor:
            body = Body(incoming := folder.receive(), executor)
            for at in range(0, len(data), step):
                await body.add(data[at : at + step])
            assert (await body.finish(), body.length) == (sha(data), len(data))
            body.commit(sha(data))
            incoming.discard()
        file = folder.open(sha(data))
        assert file is not None
        with file:
            assert file.read() == data

    for size, step in ((1, 1), (1000, 7), (1 << 19, 1 << 18), (5_000_001, 300_000), (5_000_000, 1 << 22)):
        asyncio.run(receive(os.urandom(size), step))


def test_no_more_than_two_pieces_are_held(tmp_path: Path) -> None:
    """While one is being written the next is gathered; who brings a third has to wait."""

    async def main() -> None:
        slow, data = _Slow(), bytes(1 << 18)
        with ThreadPoolExecutor(1) as executor:
            body = Body(slow, executor)
            for _ in range(3):
                await body.add(data)
            waiting = asyncio.create_task(body.add(data))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            slow.go.set()
            await waiting
            await body.finish()
        assert slow.written == [data] * 4

    asyncio.run(main())


def test_a_body_that_is_given_up_says_nothing(tmp_path: Path) -> None:
    """A write that fails because its client has gone is nobody's business, and is not logged."""
    said: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        slow = _Slow()
        with ThreadPoolExecutor(1) as executor:
            body = Body(slow, executor)
            await body.add(bytes(1 << 20))
            slow.discard()
            slow.go.set()
        await asyncio.sleep(0.05)
        del body
        gc.collect()

    asyncio.run(main())
    assert said == []


def test_a_write_that_fails_fails_the_upload() -> None:
    """The next bytes, or the end, tell that the disk has not taken what came before."""

    async def main() -> None:
        for more in (True, False):
            slow = _Slow()
            slow.discard()
            slow.go.set()
            with ThreadPoolExecutor(1) as executor:
                body = Body(slow, executor)
                await body.add(bytes(1 << 20))
                with pytest.raises(OSError, match="discarded"):
                    await (body.add(bytes(1 << 20)) if more else body.finish())

    asyncio.run(main())
