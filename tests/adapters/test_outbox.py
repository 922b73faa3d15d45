"""The worker's queue: its states, as Hypothesis walks them, and what a kill at any step leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from powdo.adapters.outbox import STALE_WRAP_SECONDS, Delivery, Outbox
from powdo.errors import BadRecordError, BusyError, CannotCreateError, OutputError
from powdo.records import Capture
from tests.conftest import ROOT
from tests.outbox_steps import KEY, bundle, capture

_BLOB = {"url": "https://blossom.example/x", "sha256": "ab" * 32, "size": 65536}


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Return an empty outbox."""
    made = Outbox(tmp_path / "state")
    yield made
    made.close()


class OutboxMachine(RuleBasedStateMachine):
    """Any order of steps, restarts and repeats keeps the outbox as a plain model says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.outbox = Outbox(self.folder)
        self.states: dict[str, str] = {}
        self.records: dict[str, Capture] = {}
        self.wraps: dict[str, tuple[str, bool]] = {}
        self.now = 1000
        self.count = 0

    def teardown(self) -> None:
        """Remove what the walk left."""
        self.outbox.close()
        shutil.rmtree(self.folder)

    def _in(self, state: str) -> list[str]:
        return [name for name, found in self.states.items() if found == state]

    @rule(device=st.sampled_from(["d1", "d2"]), at=st.integers(0, 50))
    def capture(self, device: str, at: int) -> None:
        """Add a capture: durable with its cursor, which never goes back."""
        before = self.outbox.cursor("aw", "window") or 0
        record = capture(self.outbox, device, now=self.now, cursors={("aw", "window"): at})
        assert record.sequence == 1 + sum(item.device == device for item in self.records.values())
        assert self.outbox.cursor("aw", "window") == max(before, at)
        self.records[record.id], self.states[record.id] = record, "captured"

    @rule(data=st.data())
    @precondition(lambda self: self._in("captured"))
    def bundle(self, data: st.DataObject) -> None:
        """Bundle a capture: it keeps key and link, and loses its plaintext."""
        name = data.draw(st.sampled_from(self._in("captured")))
        bundle(self.outbox, self.records[name])
        self.states[name] = "bundled"
        assert not self.outbox.capture_path(name).exists()
        with pytest.raises(BadRecordError):
            bundle(self.outbox, self.records[name])

    @rule(data=st.data())
    @precondition(lambda self: self._in("bundled") or self._in("uploaded") or self._in("wrapped"))
    def upload(self, data: st.DataObject) -> None:
        """Blobs can be stored again at any time; a capture never falls back to an earlier state."""
        name = data.draw(st.sampled_from([*self._in("bundled"), *self._in("uploaded"), *self._in("wrapped")]))
        assert self.outbox.add_blobs(name, [_BLOB]).blobs == (_BLOB,)
        if self.states[name] == "bundled":
            self.states[name] = "uploaded"

    @rule(data=st.data())
    @precondition(lambda self: self._in("uploaded") or self._in("wrapped"))
    def wrap(self, data: st.DataObject) -> None:
        """Wrap a capture: new wraps take the place of unpublished ones; published ones stay."""
        name = data.draw(st.sampled_from([*self._in("uploaded"), *self._in("wrapped")]))
        self.wraps = {
            item: (owner, sent) for item, (owner, sent) in self.wraps.items() if sent or owner != name
        }
        new = []
        for recipient in ("dvm", "self"):
            self.count += 1
            new.append((recipient, {"id": f"{self.count:064x}", "kind": 1059}))
            self.wraps[f"{self.count:064x}"] = (name, False)
        self.outbox.add_wraps(name, new, now=self.now)
        self.states[name] = "wrapped"

    @rule(data=st.data(), done=st.booleans())
    @precondition(lambda self: self.wraps)
    def publish(self, data: st.DataObject, done: bool) -> None:
        """Publish a wrap: a capture is published when its last wrap is."""
        event_id = data.draw(st.sampled_from(sorted(self.wraps)))
        name, sent = self.wraps[event_id]
        self.outbox.mark_published(event_id, [Delivery("wss://r", done, "")], done=done, now=self.now)
        assert self.outbox.deliveries(event_id) == [Delivery("wss://r", done, "")]
        self.wraps[event_id] = (name, sent or done)
        if done and self.states[name] == "wrapped" and all(s for o, s in self.wraps.values() if o == name):
            self.states[name] = "published"

    @rule(seconds=st.integers(1, STALE_WRAP_SECONDS))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def restart(self) -> None:
        """Begin a new process: it sees what the old one committed, and sweeps what nobody owns."""
        (self.outbox.captures / ".staging-dead").mkdir()
        self.outbox.close()
        self.outbox = Outbox(self.folder)
        self.outbox.sweep_captures()

    @invariant()
    def agrees(self) -> None:
        """States, queues, folders and numbers are those of the model."""
        for name, state in self.states.items():
            entry = self.outbox.get(name)
            assert entry is not None
            assert (entry.state, entry.capture) == (state, self.records[name])
            assert (entry.key, entry.link) == ((None, None) if state == "captured" else (KEY, f"link-{name}"))
            assert entry.bundle is None or entry.bundle.key is None
            assert self.outbox.capture_path(name).exists() == (state == "captured")
        for stage, state in (("bundle", "captured"), ("upload", "bundled"), ("wrap", "uploaded")):
            assert {entry.capture.id for entry in self.outbox.waiting(stage)} == set(self._in(state))
        unsent = {item for item, (_, sent) in self.wraps.items() if not sent}
        fresh = {wrap.id for wrap in self.outbox.unpublished(now=self.now)}
        stale = {
            wrap.id for name in self.outbox.stale_captures(now=self.now) for wrap in self.outbox.wraps(name)
        }
        assert fresh <= unsent <= fresh | stale


OutboxMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOutboxMachine = OutboxMachine.TestCase


_CRASH = """
import os, signal, sqlite3, sys
from pathlib import Path
from threading import Barrier
from powdo.adapters.outbox import Outbox
from tests.outbox_steps import bundle, capture
from powdo.records import Capture
outbox, step, at = Outbox(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
first = outbox.get(sys.argv[4]).capture if len(sys.argv) > 4 else None
calls = 0
def count(*_):
    global calls
    calls += 1
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(lambda event, _: count() if event in EVENTS else None)
outbox._db.set_trace_callback(count)
if step == "capture":
    capture(outbox, "d1", cursors={("aw", "window"): 7})
else:
    bundle(outbox, first)
outbox._db.set_trace_callback(None)
os.write(1, b"done")
""".replace("EVENTS", "('os.rename', 'os.mkdir', 'os.remove', 'os.rmdir', 'shutil.rmtree', 'open')")


def _run_until_killed(folder: Path, step: str, *more: str) -> int:
    """Run *step* with a kill at its 1st, 2nd, … call until it ends; return how many kills there were."""
    for at in range(1, 60):
        copy = folder.with_name(f"{folder.name}-{at}")
        shutil.copytree(folder, copy)
        done = subprocess.run(
            [sys.executable, "-c", _CRASH, str(copy), step, str(at), *more],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60,
        )  # fmt: skip
        if done.returncode == 0:
            assert done.stdout == b"done"
            return at - 1
        assert done.returncode == -signal.SIGKILL, done.stderr
    raise AssertionError("it never ended")


def test_a_capture_killed_at_any_call_is_whole_or_not_there(tmp_path: Path):
    """Row, folder and cursor come together; the rest is swept, and numbers have no gap."""
    folder = tmp_path / "state"
    Outbox(folder).close()
    kills = _run_until_killed(folder, "capture")
    assert kills >= 5
    for at in range(1, kills + 1):
        outbox = Outbox(folder.with_name(f"state-{at}"))
        outbox.sweep_captures()
        waiting = list(outbox.waiting("bundle"))
        assert outbox.cursor("aw", "window") == (7 if waiting else None)
        folders = sorted(path.name for path in outbox.captures.iterdir())
        assert folders == [entry.capture.id for entry in waiting]
        assert capture(outbox, "d1").sequence == len(waiting) + 1
        outbox.close()


def test_a_bundle_killed_at_any_call_is_made_or_made_again(tmp_path: Path):
    """Plaintext is there until the bundle is durable; afterwards a sweep removes what is left of it."""
    folder = tmp_path / "state"
    outbox = Outbox(folder)
    record = capture(outbox, "d1")
    outbox.close()
    kills = _run_until_killed(folder, "bundle", record.id)
    assert kills >= 5
    for at in range(1, kills + 1):
        outbox = Outbox(folder.with_name(f"state-{at}"))
        outbox.sweep_captures()
        entry = outbox.get(record.id)
        plain = outbox.capture_path(record.id) / "manifest.json"
        assert plain.exists() == (entry.state == "captured")
        if entry.state == "captured":
            bundle(outbox, record)
        else:
            assert outbox.bundle_path(record.id).exists()
            assert entry.key == KEY
        assert outbox.get(record.id).state == "bundled"
        outbox.close()


def test_everything_is_private(outbox: Outbox, tmp_path: Path):
    """Directories are 0700 and files 0600, the database's own too."""
    capture(outbox, "d1")
    for path in (tmp_path / "state", *(tmp_path / "state").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_two_runs_of_one_step_exclude_each_other(outbox: Outbox, tmp_path: Path):
    """A held lock makes another run wait, then end in 75; a killed holder lets go at once."""
    program = (
        "import sys, time; from pathlib import Path; from powdo.adapters.outbox import Outbox\n"
        "with Outbox(Path(sys.argv[1])).lock('bundle'):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "state")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(BusyError, match="another run holds"), outbox.lock("bundle", timeout=0.2):
        pass
    with outbox.lock("upload", timeout=0.2):
        pass
    holder.kill()
    holder.communicate()
    with outbox.lock("bundle", timeout=5):
        pass


def test_failures_wait_longer_each_time(outbox: Outbox):
    """The delay to the next try doubles up to an hour, and success forgets it."""
    record = capture(outbox, "d1")
    assert outbox.next_retry("bundle") is None
    delays = []
    for _ in range(9):
        outbox.defer(record.id, "away", now=5000)
        delays.append(outbox.next_retry("bundle") - 5000)
    assert delays == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert outbox.get(record.id).error == "away"
    bundle(outbox, record)
    assert outbox.next_retry("bundle") is None
    assert (outbox.get(record.id).error, outbox.get(record.id).attempts) == (None, 0)


def test_a_device_is_one_per_identity(outbox: Outbox, tmp_path: Path):
    """The same identity has the same device in every run, another identity another."""
    first = outbox.device("ana")
    assert uuid.UUID(first)
    other = Outbox(tmp_path / "state")
    assert (other.device("ana"), other.device("bob") != first) == (first, True)
    other.close()


def test_links_are_set_once(outbox: Outbox):
    """A link that was given out is never changed."""
    record = capture(outbox, "d1")
    outbox.set_links([(record.id, "one", "{}")])
    outbox.set_links([(record.id, "two", "{}")])
    assert outbox.get(record.id).link == "one"
    later = capture(outbox, "d1")
    assert [entry.capture.id for entry in outbox.chain("d1", later.sequence)] == [record.id, later.id]


def test_the_key_is_not_in_the_stored_record(outbox: Outbox):
    """A bundle's record is given out without its key, which stays in a column of its own."""
    record = capture(outbox, "d1")
    made = bundle(outbox, record)
    entry = outbox.get(record.id)
    assert entry.bundle == replace(made, key=None)
    assert KEY not in json.dumps(entry.bundle.to_json())


def test_a_damaged_or_forbidden_outbox_is_told(tmp_path: Path):
    """What cannot be used is told as such, not as our bug."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "outbox.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(OutputError, match="cannot use the outbox"):
        Outbox(state)
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateError, match="cannot create"):
        Outbox(tmp_path / "file" / "state")


_FIRST_RUNS = """
import sys, time
from pathlib import Path
from powdo.adapters.outbox import Outbox

sys.stdout.write("ready\\n")
sys.stdout.flush()
begin = float(sys.stdin.readline())
for number in range(30):
    time.sleep(max(0, begin + number / 30 - time.time()))
    Outbox(Path(sys.argv[1], str(number))).close()
"""


def test_first_runs_at_once_all_open_it(tmp_path: Path) -> None:
    """SQLite lets one of them turn a new file to WAL, and tells the others at once that it is locked."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _FIRST_RUNS, tmp_path],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(6)
    ]  # fmt: skip
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    begin = str(time.time() + 0.1)
    told = [run.communicate(begin, timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 6, told
