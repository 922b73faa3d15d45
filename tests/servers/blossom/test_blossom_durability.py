from __future__ import annotations

import asyncio
import errno
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from powdo.errors import BusyError, CannotCreateError
from powdo.servers.blossom.locks import Locks
from powdo.servers.blossom.metadata import Metadata
from powdo.servers.blossom.rows import Blob, Dropped
from powdo.servers.blossom.storage import Folder
from tests.blossom_server import Blossom, begun, running, sha, token
from tests.parts import needed

#: powdo as it is where there was no compiler.
_WITHOUT_EXTENSION = "import sys; sys.modules['powdo._disk'] = None; from powdo.cli import main; main()"


@contextmanager
def _process(
    data: Path, *prefix: str, program: tuple[str, str] = ("-m", "powdo")
) -> Iterator[tuple[Blossom, subprocess.Popen[bytes]]]:
    command = [*prefix, sys.executable, *program, "blossom", "serve"]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--data", str(data), "--open"],
        stdout=subprocess.PIPE,
        env=os.environ
        | {"POWDO_CONFIG": os.devnull, "POWDO_STATE_DIR": str(data), "POWDO_DATA_DIR": str(data)},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            record = json.loads(process.stdout.readline())
            assert (record["type"], record["v"]) == ("listening", 1)
            yield Blossom(record["url"], data), process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a killed strace leaves its program running


def test_what_was_answered_with_201_survives_a_kill(tmp_path: Path) -> None:
    """Killed while uploads run, the server has each blob it said 201 to, whole, after a restart."""
    kept: list[bytes] = []

    def send(server: Blossom) -> None:
        while True:
            data = os.urandom(200_000)
            try:
                reply = server.put(data)
            except OSError:
                return
            assert reply.status == 201
            kept.append(data)

    with _process(tmp_path) as (server, process):
        threads = [threading.Thread(target=send, args=[server]) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(kept) < 20:
            threads[0].join(0.01)
        process.kill()
        for thread in threads:
            thread.join()
    (tmp_path / "incoming" / "left").write_bytes(b"cut off")
    with _process(tmp_path) as (server, process):
        assert list((tmp_path / "incoming").iterdir()) == []
        for data in kept:
            assert server.ask("GET", f"/{sha(data)}").body == data
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize("program", [("-m", "powdo"), ("-c", _WITHOUT_EXTENSION)], ids=["C", "Python"])
def test_201_is_said_after_all_is_on_disk(tmp_path: Path, program: tuple[str, str]) -> None:
    """Sync the file, rename, sync its directory, commit the row, then answer: in this order."""
    needed("strace")
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg,write,writev"
    strace = ("strace", "-f", "-y", "-s", "40", "-e", calls, "-o", str(trace))
    with _process(tmp_path / "data", *strace, program=program) as (server, _):
        data = os.urandom(5000)
        assert server.put(data).status == 201
    lines = trace.read_text().splitlines()
    steps = [
        r"f(data)?sync\(\d+<[^>]*/incoming/[^>]*>",
        rf"rename\w*\(.*/incoming/.*{sha(data)}",
        rf"fsync\(\d+<[^>]*/blobs/{sha(data)[:2]}/{sha(data)[2:4]}>",
        r"f(data)?sync\(\d+<[^>]*blossom\.sqlite-wal>",
        r"HTTP/1\.1 201 Created",
    ]
    at = -1
    for step in steps:
        found = [number for number, line in enumerate(lines) if number > at and re.search(step, line)]
        assert found, step
        at = found[0]
    assert not any("201 Created" in line for line in lines[:at])


def test_a_server_that_stops_lets_uploads_come_to_their_end(tmp_path: Path) -> None:
    """The rest of a body is taken and kept; connections that rest, and new ones, are closed at once."""
    data = os.urandom(2_000_000)
    with _process(tmp_path) as (server, process):
        with begun(server, data, 1000) as peer, socket.create_connection(server.address) as resting:
            resting.settimeout(20)
            assert server.put(b"another").status == 201
            process.send_signal(signal.SIGTERM)
            assert resting.recv(1) == b""
            with pytest.raises(OSError, match=r"refused|reset"):
                server.ask("GET", "/")
            peer.sendall(data[1000:])
            assert peer.recv(12) == b"HTTP/1.1 201"
        assert process.wait(20) == -signal.SIGTERM
    with running(tmp_path) as server:
        assert server.ask("GET", f"/{sha(data)}").body == data


def test_a_server_that_stops_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A body that does not come is given up, and leaves nothing."""
    data = os.urandom(1_000_000)
    with running(tmp_path, open=True, shutdown_timeout=0.1) as server:
        peer = begun(server, data, 600_000)
        assert server.eventually(lambda: server.files() != [])
    with peer:
        assert b"201" not in peer.recv(100)
    assert server.files() == []


def test_two_servers_never_share_a_folder(tmp_path: Path) -> None:
    """The second one ends with 75 instead of sweeping away what the first receives."""
    with running(tmp_path, open=True), pytest.raises(BusyError), running(tmp_path):
        pass


def test_a_port_in_use_or_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """Both are 73, with what the system said."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError, match="cannot create"), running(tmp_path / "file" / "x"):
        pass
    with running(tmp_path / "a") as server:
        taken = {"host": "127.0.0.1", "port": server.address[1]}
        with pytest.raises(CannotCreateError, match="in use"), running(tmp_path / "b", **taken):
            pass


def test_a_row_whose_file_is_gone_is_mended_by_an_upload(tmp_path: Path) -> None:
    """Bytes lost from the disk are 404, and an upload of them brings them back."""
    data = os.urandom(1000)
    with running(tmp_path, open=True) as server:
        server.put(data)
        Folder(tmp_path).remove(sha(data))
        assert server.ask("GET", f"/{sha(data)}").status == 404
        assert server.put(data).status == 200
        assert server.ask("GET", f"/{sha(data)}").body == data


def test_the_folder_keeps_committed_blobs_only(tmp_path: Path) -> None:
    """What is discarded or cut off never gets a name; files are private."""
    folder = Folder(tmp_path)
    folder.prepare()
    data = os.urandom(3000)
    kept, lost, cut = folder.receive(), folder.receive(), folder.receive()
    for incoming in (kept, lost, cut):
        incoming.write(data[:1000])
        incoming.write(data[1000:])
    kept.commit(sha(data))
    kept.discard()
    lost.discard()
    assert folder.size(sha(data)) == 3000
    file = folder.open(sha(data))
    assert file is not None
    with file:
        assert file.read() == data
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    Folder(tmp_path).prepare()
    assert folder.size(sha(b"")) is None
    assert list((tmp_path / "incoming").iterdir()) == []
    folder.remove(sha(data))
    folder.remove(sha(data))
    assert folder.open(sha(data)) is None
    cut.discard()


def test_changes_made_at_once_share_commits_and_all_hold(tmp_path: Path) -> None:
    """Each change gets its own answer, an error of one group reaches its callers, and the file reopens."""
    path = tmp_path / "m.sqlite"
    owner, other = "0" * 64, "1" * 64
    blobs = [Blob(sha(bytes([number])), number + 1, "a/b", 1000 + number) for number in range(100)]

    async def fill() -> None:
        metadata = Metadata(path)
        answers = await asyncio.gather(*(metadata.add(blob, owner) for blob in blobs * 2))
        assert answers.count(None) == 100
        assert await metadata.add(blobs[0], other) == blobs[0]
        drops = [
            await metadata.drop(blobs[0].sha256, who, token=sha(who.encode()), expires=9, now=1)
            for who in (owner, owner, other, other)
        ]
        assert drops == [Dropped.SHARED, Dropped.FOREIGN, Dropped.GONE, Dropped.MISSING]
        with pytest.raises(OverflowError):
            await metadata.add(Blob("f" * 64, 1 << 70, "a/b", 1), owner)
        await metadata.close()

    async def check() -> None:
        metadata = Metadata(path)
        assert metadata.get(blobs[0].sha256, 1) is None
        assert metadata.get(blobs[1].sha256, 1) == blobs[1]
        listed = metadata.owned(owner, after=None, limit=1000, now=1)
        assert listed == sorted(blobs[1:], key=lambda blob: -blob.uploaded)
        await metadata.close()

    asyncio.run(fill())
    asyncio.run(check())


def test_a_commit_that_cannot_even_be_undone_is_told(tmp_path: Path) -> None:
    """Whoever waits gets the error that came first, and the change after the next one holds."""
    blob = Blob("a" * 64, 1, "a/b", 1000)

    def deny(action: int, what: str | None, *_: str | None) -> int:
        rollback = (action, what) == (sqlite3.SQLITE_TRANSACTION, "ROLLBACK")
        return sqlite3.SQLITE_DENY if rollback else sqlite3.SQLITE_OK

    async def main() -> None:
        metadata = Metadata(tmp_path / "m.sqlite")
        writing = metadata._db  # the connection that no question is asked of
        writing.set_authorizer(deny)
        async with asyncio.timeout(20):
            with pytest.raises(OverflowError):
                await metadata.add(Blob("f" * 64, 1 << 70, "a/b", 1), "0" * 64)
            writing.set_authorizer(None)
            with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
                await metadata.add(blob, "0" * 64)
            assert await metadata.add(blob, "0" * 64) is None
        await metadata.close()

    asyncio.run(main())


def test_a_row_waits_for_its_file_and_fails_with_it(tmp_path: Path) -> None:
    """Nothing is written before the thread is done with the file, nor if that fails."""
    blob = Blob("a" * 64, 1, "a/b", 1000)

    async def main() -> None:
        metadata = Metadata(tmp_path / "m.sqlite")
        failing, done = Future[None](), Future[None]()
        tasks = [asyncio.create_task(metadata.add(blob, "0" * 64, after=after)) for after in (failing, done)]
        await metadata.add(Blob("b" * 64, 1, "a/b", 1000), "0" * 64)
        assert metadata.get(blob.sha256, 1) is None
        failing.set_exception(OSError(errno.EIO, "the disk is broken"))
        with pytest.raises(OSError, match="the disk is broken"):
            await tasks[0]
        assert metadata.get(blob.sha256, 1) is None
        done.set_result(None)
        assert await tasks[1] is None
        assert metadata.get(blob.sha256, 1) == blob
        await metadata.close()

    asyncio.run(main())


def test_what_is_discarded_takes_no_more(tmp_path: Path) -> None:
    """A thread that comes late, after the client has gone, writes nothing and leaves nothing."""
    folder = Folder(tmp_path)
    folder.prepare()
    for first in (b"", b"a piece"):
        incoming = folder.receive()
        if first:
            incoming.write(first)
        incoming.discard()
        with pytest.raises(OSError, match="discarded"):
            incoming.write(b"late")
        with pytest.raises(OSError, match="discarded"):
            incoming.commit(sha(first))
    assert list((tmp_path / "incoming").iterdir()) == []
    assert list(folder.names()) == []


def test_a_change_comes_to_its_end_without_its_client(tmp_path: Path) -> None:
    """Who is cancelled lets go of the blob only once the change is over, so that nobody settles it midway."""
    name = "a" * 64

    async def main() -> None:
        folder = Folder(tmp_path)
        folder.prepare()
        locks, go, ended = Locks(folder, print), asyncio.Event(), asyncio.Event()

        async def work() -> None:
            await go.wait()
            ended.set()

        task = asyncio.create_task(locks.change(name, work))
        while not list((tmp_path / "incoming").iterdir()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BusyError), folder.changing(name):
            pass
        go.set()
        await ended.wait()
        await locks.change(name, nothing)
        await asyncio.sleep(0.01)  # it is let go just after the answer
        assert list((tmp_path / "incoming").iterdir()) == []

    async def nothing() -> None:
        return

    asyncio.run(main())


def test_a_crowd_of_changes_takes_a_few_commits(tmp_path: Path) -> None:
    """What arrives while the disk syncs shares the next commit."""
    needed("strace")
    program = (
        "import asyncio, pathlib, sys\n"
        "from powdo.servers.blossom.metadata import Metadata\n"
        "from powdo.servers.blossom.rows import Blob\n"
        "async def main():\n"
        "    metadata = Metadata(pathlib.Path(sys.argv[1]))\n"
        "    blobs = [Blob(f'{number:064x}', 1, 'a/b', 1) for number in range(400)]\n"
        "    await asyncio.gather(*(metadata.add(blob, '0' * 64) for blob in blobs))\n"
        "    await metadata.close()\n"
        "asyncio.run(main())"
    )
    trace = tmp_path / "trace"
    traced = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    subprocess.run(
        [*traced, sys.executable, "-c", program, str(tmp_path / "m.sqlite")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        check=True,
        timeout=60,
    )
    assert 0 < len(re.findall(r"sync\(\d+<[^>]*m\.sqlite-wal>", trace.read_text())) < 40


def test_a_change_cut_off_leaves_no_file_without_a_row(tmp_path: Path) -> None:
    """A blob whose row was never committed goes at the next start; one that has its row stays."""
    data, lost, gone = (os.urandom(1000) for _ in range(3))
    with running(tmp_path, open=True) as server:
        assert server.put(data).status == 201
        assert server.put(gone).status == 201
        assert server.ask("DELETE", f"/{sha(gone)}", Authorization=token("delete", sha(gone))).status == 204
        assert server.eventually(lambda: list((tmp_path / "incoming").iterdir()) == [])
    folder = Folder(tmp_path)
    for each in (data, lost, gone):
        incoming = folder.receive()
        incoming.write(each)
        with pytest.raises(KeyboardInterrupt), folder.changing(sha(each)):
            incoming.commit(sha(each))
            raise KeyboardInterrupt
        incoming.discard()
    with running(tmp_path, open=True) as server:
        assert server.ask("GET", f"/{sha(data)}").body == data
        assert [path.name for path in server.files()] == [sha(data)]


def test_a_server_killed_between_file_and_row_tidies_up(tmp_path: Path) -> None:
    """Killed after the file got its name, before the row is written: the next start deletes the file."""
    needed("strace")
    data = os.urandom(1000)
    with running(tmp_path, open=True):
        pass
    kill = "inject=fdatasync:signal=SIGKILL:when=1"
    with _process(tmp_path, "strace", "-f", "-qqq", "-o", os.devnull, "-e", kill) as (server, process):
        with pytest.raises((OSError, http.client.HTTPException)):
            server.put(data)
        assert process.wait(20) == -signal.SIGKILL
    assert [path.name for path in server.files()] == [sha(data)]
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == [sha(data)]
    with running(tmp_path, open=True) as server:
        assert server.files() == []
        assert server.put(data).status == 201
