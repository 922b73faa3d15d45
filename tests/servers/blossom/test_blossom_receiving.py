"""Bodies on their way to the disk: what the threads do while the next bytes come."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from powdo.servers.blossom import storage
from powdo.servers.blossom.placing import place
from powdo.servers.blossom.receiving import Body
from powdo.servers.blossom.storage import Folder
from tests.blossom_server import sha


class _Slow:
    """A blob whose every write waits for *go*, and then fails if it has been discarded."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.discarded = False
        self.written: list[bytes] = []
        self.committed: tuple[str, Sequence[bytes]] | None = None

    def write(self, data: bytes) -> None:
        assert self.go.wait(20)
        if self.discarded:
            raise OSError("discarded")
        self.written.append(data)

    def hasten(self, last: Sequence[bytes]) -> None:
        self.write(b"".join(last))

    def expect(self, sha256: str) -> None:
        pass

    def commit(self, sha256: str, last: Sequence[bytes] = ()) -> None:
        self.committed = (sha256, last)

    def discard(self) -> None:
        self.discarded = True


async def _add(body: Body, data: bytes) -> None:
    if body.add(data):
        await body.spill()


def test_a_body_in_any_pieces_is_kept_as_it_came(tmp_path: Path) -> None:
    """Hash, length and bytes are right whether it fits into one piece or needs many."""
    folder = Folder(tmp_path)
    folder.prepare()

    async def receive(data: bytes, step: int, hastened: bool) -> None:
        with ThreadPoolExecutor(2) as executor:
            body = Body(incoming := folder.receive(), executor)
            for at in range(0, len(data), step):
                await _add(body, data[at : at + step])
            if hastened:
                body.hasten()
            assert (body.finish(), body.length) == (sha(data), len(data))
            await asyncio.wrap_future(executor.submit(body.commit, sha(data)))
            incoming.discard()
        file = folder.open(sha(data))
        assert file is not None
        with file:
            assert file.read() == data

    for size, step in ((1, 1), (1000, 7), (1 << 19, 1 << 18), (5_000_001, 300_000), (5_000_000, 1 << 22)):
        for hastened in (False, True):
            asyncio.run(receive(os.urandom(size), step, hastened))


def test_no_more_than_two_pieces_are_held(tmp_path: Path) -> None:
    """While one is being written the next is gathered; who brings a third has to wait."""

    async def main() -> None:
        slow, data = _Slow(), bytes(1 << 18)
        with ThreadPoolExecutor(1) as executor:
            body = Body(slow, executor)
            for _ in range(3):
                await _add(body, data)
            waiting = asyncio.create_task(_add(body, data))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            slow.go.set()
            await waiting
            body.finish()
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
            await _add(body, bytes(1 << 20))
            slow.discard()
            slow.go.set()
        await asyncio.sleep(0.05)
        del body
        gc.collect()

    asyncio.run(main())
    assert said == []


def test_a_write_that_fails_fails_the_upload() -> None:
    """The next bytes, or the commit, tell that the disk has not taken what came before."""

    async def main(*, more: bool, hastened: bool) -> None:
        slow = _Slow()
        slow.discard()
        slow.go.set()
        with ThreadPoolExecutor(1) as executor:
            body = Body(slow, executor)
            await _add(body, bytes(1 << 20))
            if hastened:
                body.hasten()
            body.finish()
            with pytest.raises(OSError, match="discarded"):
                if more:
                    await _add(body, bytes(1 << 20))
                else:
                    await asyncio.wrap_future(executor.submit(body.commit, "name"))
        assert slow.committed is None

    for more, hastened in ((True, False), (False, False), (False, True)):
        asyncio.run(main(more=more, hastened=hastened))


def test_who_gives_up_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is at work at the file meanwhile comes to its end, and leaves nothing."""
    entered, go = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> None:
        entered.set()
        assert go.wait(20)
        place(*arguments)

    monkeypatch.setattr(storage, "place", slow)
    folder = Folder(tmp_path)
    folder.prepare()
    incoming = folder.receive()
    thread = threading.Thread(target=incoming.hasten, args=[[b"given up"]])
    thread.start()
    assert entered.wait(20)
    incoming.discard()
    assert thread.is_alive()
    go.set()
    thread.join(20)
    assert list((tmp_path / "incoming").iterdir()) == []
    with pytest.raises(OSError, match="discarded"):
        incoming.commit(sha(b"given up"))
    assert list(folder.names()) == []
