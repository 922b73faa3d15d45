"""What any storage of the Blossom server has to do, as tests that each implementation inherits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from powdo.errors import BusyError
from powdo.servers.blossom.storage import Storage
from tests.blossom_server import sha


def keep(storage: Storage, data: bytes) -> str:
    """Put *data* into *storage* and return its hash."""
    incoming = storage.receive()
    incoming.write(data)
    incoming.commit(sha(data))
    incoming.discard()
    return sha(data)


def content(storage: Storage, sha256: str) -> bytes | None:
    """Return the bytes of a blob, read by their descriptor as the server sends them; or None."""
    file = storage.open(sha256)
    if file is None:
        return None
    with file:
        return os.pread(file.fileno(), 1 << 20, 0)


class StorageContract:
    """Subclasses make `storage`."""

    @pytest.fixture
    def storage(self) -> Storage:
        """Return an empty storage."""
        raise NotImplementedError

    def test_what_is_committed_is_there_as_it_was_written(self, storage: Storage) -> None:
        """Pieces become one blob, with its size, under its hash."""
        data = os.urandom(30_000)
        incoming = storage.receive()
        for begin in range(0, len(data), 7_000):
            incoming.write(data[begin : begin + 7_000])
        assert storage.size(sha(data)) is None
        incoming.commit(sha(data))
        incoming.discard()
        assert (content(storage, sha(data)), storage.size(sha(data))) == (data, len(data))

    @pytest.mark.parametrize("begun", [b"", b"begun, "])
    def test_the_end_may_come_with_the_commit_or_before(self, storage: Storage, begun: bytes) -> None:
        """What is hastened has no name before it is committed, and one that is given up never gets one."""
        for hastened in (False, True):
            data = begun + b"%d, " % hastened + b"ended"
            incoming = storage.receive()
            if begun:
                incoming.write(begun)
            if hastened:
                incoming.hasten([data[len(begun) : -5], b"ended"])
                incoming.expect(sha(data))
                assert storage.size(sha(data)) is None
                incoming.commit(sha(data))
            else:
                incoming.commit(sha(data), [data[len(begun) : -5], b"ended"])
            incoming.discard()
            assert content(storage, sha(data)) == data
        lost = storage.receive()
        lost.expect(sha(b"lost"))
        lost.hasten([b"lost"])
        lost.discard()
        assert storage.size(sha(b"lost")) is None

    def test_what_is_discarded_was_never_there(self, storage: Storage) -> None:
        """No name, no size, nothing to open; discarding twice is no error."""
        incoming = storage.receive()
        incoming.write(b"never")
        incoming.discard()
        incoming.discard()
        assert (storage.open(sha(b"never")), storage.size(sha(b"never"))) == (None, None)
        assert list(storage.names()) == []

    def test_two_that_are_received_at_once_do_not_mix(self, storage: Storage) -> None:
        """Each gets its own bytes, and the same bytes twice are one blob."""
        one, two, again = storage.receive(), storage.receive(), storage.receive()
        for pieces in ((b"on", b"tw", b"on"), (b"e", b"o", b"e")):
            for incoming, piece in zip((one, two, again), pieces, strict=True):
                incoming.write(piece)
        one.commit(sha(b"one"))
        two.commit(sha(b"two"))
        again.commit(sha(b"one"))
        for incoming in (one, two, again):
            incoming.discard()
        assert sorted(storage.names()) == sorted([sha(b"one"), sha(b"two")])
        assert (content(storage, sha(b"one")), content(storage, sha(b"two"))) == (b"one", b"two")

    def test_what_is_removed_is_gone_but_for_who_has_it_open(self, storage: Storage) -> None:
        """An answer under way ends well; removing twice is no error."""
        name = keep(storage, b"open")
        file = storage.open(name)
        assert file is not None
        with file:
            storage.remove(name)
            storage.remove(name)
            assert os.pread(file.fileno(), 10, 0) == b"open"
        assert (storage.open(name), storage.size(name), list(storage.names())) == (None, None, [])

    def test_what_is_set_aside_is_no_blob_any_more(self, storage: Storage) -> None:
        """Its name can be used again, and set aside again."""
        for _ in range(3):
            name = keep(storage, b"damaged")
            storage.set_aside(name)
            assert (storage.open(name), list(storage.names())) == (None, [])

    def test_there_is_room(self, storage: Storage) -> None:
        """A test that writes needs some."""
        assert storage.free() > 0

    def test_one_at_a_time_changes_a_blob(self, storage: Storage) -> None:
        """Another one is told so at once, in any thread; the next one is let in, and other blobs are free."""
        name, other = sha(b"a"), sha(b"b")
        seen: list[bool] = []

        def enter() -> None:
            try:
                with storage.changing(name):
                    seen.append(True)
            except BusyError:
                seen.append(False)

        with storage.changing(name), storage.changing(other):
            thread = threading.Thread(target=enter)
            thread.start()
            thread.join()
            enter()
        enter()
        assert seen == [False, False, True]

    @pytest.mark.parametrize("known", [True, False])
    def test_a_change_that_was_cut_off_is_settled(self, storage: Storage, known: bool) -> None:
        """Bytes without a row go, those with one stay; afterwards nothing is left to settle."""
        name, untouched = keep(storage, b"cut off"), keep(storage, b"never changed")
        with pytest.raises(KeyboardInterrupt), storage.changing(name):
            raise KeyboardInterrupt
        asked: list[str] = []

        def has_row(sha256: str) -> bool:
            asked.append(sha256)
            return known

        storage.settle(has_row)
        storage.settle(has_row)
        assert asked == [name]
        assert sorted(storage.names()) == sorted([name, untouched] if known else [untouched])

    def test_a_change_under_way_is_not_settled(self, storage: Storage) -> None:
        """Who holds the blob sees to it."""
        name = keep(storage, b"under way")
        never: Callable[[str], bool] = lambda _: False  # noqa: E731  # one value for both calls
        with storage.changing(name):
            storage.settle(never)
        storage.settle(never)
        assert content(storage, name) == b"under way"
