"""Ten thousand captures in the outbox: what a glance, a stage and a capture touch of them.

SQLite's own steps and the system's calls are counted, for these are the same on any machine.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import Outbox
from tests.outbox_steps import bundle, capture
from tests.parts import needed

MANY, FEW = 10_000, 100
MASTER = "5a" * 32
ROOT = Path(__file__).parents[2]
#: Steps for each index entry that is counted.
A_GLANCE = 12


def filled(folder: Path, number: int, state: str = "acknowledged") -> Outbox:
    """Return an outbox in *folder* with *number* captures in *state* and one that waits.

    What is acknowledged has wraps and a receipt; only the last fifty were not kept as long as wished.
    """
    outbox = Outbox(folder)
    record = capture(outbox, "d")
    made = bundle(outbox, record)
    content = Path(made.path).read_bytes()
    with closing(sqlite3.connect(folder / "outbox.sqlite")) as database, database:
        database.execute(
            "UPDATE capture SET bundle = json_set(bundle, '$.sha256', ?, '$.size', ?)",
            (sha256(content).hexdigest(), len(content)),
        )
        database.executemany(
            "INSERT INTO capture SELECT ?, device, ?, ?, record, ?, proof, bundle, key, ?, 0, 0, NULL "
            "FROM capture WHERE id = ?",
            [(f"c{n}", n, state, "x" * 600, n, record.id) for n in range(2, number + 2)],
        )
        if state == "acknowledged":
            database.execute("UPDATE capture SET key = NULL WHERE sequence BETWEEN 2 AND ?", (number - 48,))
            database.executemany(
                "INSERT INTO receipt VALUES (?, 'd', 1, '{}', ?)",
                [(f"c{n}", n) for n in range(2, number + 2)],
            )
            database.executemany(
                "INSERT INTO wrap (id, capture, recipient, event, created, published) "
                "VALUES (?, ?, ?, ?, 1, 1)",
                [(f"{side}{n}", f"c{n}", side, "e" * 3000) for n in range(2, number + 2) for side in "ab"],
            )
    return outbox


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Outbox]]:
    """Return an outbox with few and one with many captures that were published."""
    found = {number: filled(tmp_path_factory.mktemp("state") / "s", number) for number in (FEW, MANY)}
    yield found
    for outbox in found.values():
        outbox.close()


def steps(outbox: Outbox, work: Callable[[Outbox], Any]) -> int:
    """Return how many steps of its virtual machine SQLite takes for *work*."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    outbox._db.set_progress_handler(count, 1)
    try:
        work(outbox)
    finally:
        outbox._db.set_progress_handler(None, 1)
    return taken


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda box: list(box.waiting("upload")), id="what waits for upload"),
        pytest.param(lambda box: list(box.waiting("bundle", made_by=5)), id="what waits for bundle"),
        pytest.param(lambda box: list(box.unpublished(now=1000)), id="what waits for publish"),
        pytest.param(lambda box: box.stale_captures(now=1 << 40), id="stale wraps"),
        pytest.param(lambda box: box.set_right(now=1 << 40), id="a clock set right"),
        pytest.param(lambda box: box.next_retry("upload"), id="the next upload"),
        pytest.param(lambda box: box.next_retry("publish"), id="the next publish"),
        pytest.param(lambda box: (box.next_release(5), box.next_release(None)), id="the next release"),
        pytest.param(lambda box: box.held(0), id="what is held"),
        pytest.param(lambda box: box.last_capture(), id="the last capture"),
        pytest.param(lambda box: box.captured_since(1 << 40), id="today's captures"),
        pytest.param(lambda box: box.next_sequence("d"), id="the next number"),
        pytest.param(lambda box: box.sweep_captures(), id="the sweep"),
        pytest.param(lambda box: box.untold("d", limit=9), id="links to tell"),
        pytest.param(lambda box: box.unanswered(now=1 << 40, after=60), id="what no receipt covers"),
        pytest.param(lambda box: box.latest_refusal(), id="the latest refusal"),
        pytest.param(lambda box: box.expire(before=1), id="what was kept long enough"),
        pytest.param(lambda box: box.has_it("c2"), id="who has it before all is sent"),
        pytest.param(lambda box: box.mark_published("a2", [], done=True, now=1), id="the last wrap of one"),
    ],
)  # fmt: skip
def test_what_was_sent_costs_nothing(sizes: dict[int, Outbox], work: Callable[[Outbox], Any]) -> None:
    """Each question of a stage takes as many steps among ten thousand sent captures as among a hundred."""
    few, many = (steps(sizes[number], work) for number in (FEW, MANY))
    assert 0 < many <= few + 10, (few, many)


def test_counting_reads_an_index_alone(sizes: dict[int, Outbox]) -> None:
    """`status` counts each capture by its entry in an index; no row is read for it."""
    taken = steps(sizes[MANY], lambda box: box.queues())
    assert taken < A_GLANCE * MANY, taken
    assert {queue.state: queue.captures for queue in sizes[MANY].queues() if queue.captures} == {
        "bundled": 1, "acknowledged": MANY,
    }  # fmt: skip


def test_of_many_that_wait_one_is_in_memory(tmp_path: Path) -> None:
    """Ten thousand bundles that wait are read one by one, what failed last."""
    outbox = filled(tmp_path / "state", MANY, "bundled")
    first = next(iter(outbox.waiting("upload")))
    assert first.capture.sequence == 1
    outbox.defer(first.capture.id, "no", now=1000)
    everything = steps(outbox, lambda box: list(box.waiting("upload")))
    one = steps(outbox, lambda box: next(iter(box.waiting("upload"))))
    assert one < everything / 2
    assert [entry.capture.id for entry in outbox.waiting("upload")][-1] == first.capture.id
    assert len(list(outbox.waiting("upload", due=1059))) == MANY
    outbox.close()


# --- the commands ----------------------------------------------------------------------------------


def calls(folder: Path, *arguments: str) -> Counter[str]:
    """Return how often `powdo` with *arguments* opened, listed, removed and read what lies in its state."""
    log = folder.with_suffix(".calls")
    trace = "--trace=openat,getdents64,unlink,pread64"
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(folder), "NSEC_MASTER_KEY": MASTER,
        "POWDO_CONFIG": str(folder / "powdo.toml"), "POWDO_STATE_DIR": str(folder / "state"),
        "POWDO_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [needed("strace"), "-f", "-y", "-qqq", "-o", str(log), trace,
         sys.executable, "-m", "powdo", *arguments],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode in (0, 75), done.stderr
    lines = [line for line in log.read_text(errors="replace").splitlines() if str(folder / "state") in line]
    return Counter(line.split()[1].partition("(")[0] for line in lines)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Return the folders of two workers whose Blossom server is away, with few and with many captures."""
    found = {}
    for number in (FEW, MANY):
        folder = found[number] = tmp_path_factory.mktemp("worker") / f"m{number}"
        filled(folder / "state", number).close()
        (folder / "data").mkdir(mode=0o700)
        Keystore(folder / "data" / "keystore.json").create("ana", bytes.fromhex(MASTER))
        config = folder / "powdo.toml"
        config.write_text(
            '[identity]\nuser = "ana"\naccess_user = "ana"\n[worker]\nblossom = ["http://127.0.0.1:9"]\n'
            'relays = ["ws://127.0.0.1:9"]\n'
        )
        config.chmod(0o600)
    return found


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["today"], ["bundle", "--pending"], ["upload", "--pending"], ["publish", "--pending"]],
    ids=lambda words: words[0],
)
def test_a_command_opens_as_much_among_many(machines: dict[int, Path], arguments: list[str]) -> None:
    """A command opens and lists as many files among ten thousand captures, and reads few pages more."""
    few, many = (calls(machines[number], *arguments) for number in (FEW, MANY))
    pages = (machines[MANY] / "state" / "outbox.sqlite").stat().st_size // 4096
    assert many.pop("pread64") - few.pop("pread64") < pages / 100
    assert many == few
