"""Kills drawn from a seed, the lines they strike, and the state in which all must end.

Rules:
- relay, Blossom server and DVM serve all seeds of a run; each seed has a machine of the worker's of its own,
  with a host name of its own, so that what it leaves at the DVM can be told from the rest;
- a killed stage is killed by SIGKILL: either at a moment within its usual time, or as it enters a system
  call that writes, syncs, renames or deletes, which strace arranges;
- the end state is compared with what the export says, cut where the captures cut it.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from powdo.worktime.link import parse_link, verify_chain
from tests.faults.world import Event, Side, World, export, iso, query

#: The calls at which a stage may be killed: all that change what is on the disk or in a pipe.
CALLS = (
    "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,pwrite64,write"
)
SEND = ("bundle", "upload", "wrap", "publish")
RECEIVE = ("listen", "ingest")
_ONLINE = ("upload", "publish", "listen", "ingest")


# --- kills -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usual:
    """An undisturbed stage: the seconds it takes, and its calls as (name, number within its thread)."""

    seconds: float
    calls: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Kill:
    """Where a stage is to be killed: after *seconds*, or at *call*."""

    seconds: float | None = None
    call: tuple[str, int] | None = None

    @classmethod
    def draw(cls, draw: random.Random, usual: Usual) -> Kill:
        """Return a kill of a stage that is usually as *usual*."""
        if draw.random() < 0.5:
            return cls(seconds=draw.uniform(0, 1.1 * usual.seconds))
        name = draw.choice(sorted({name for name, _ in usual.calls}))
        return cls(call=(name, draw.choice([number for each, number in usual.calls if each == name])))

    @property
    def before(self) -> list[str]:
        """The words before the command."""
        if self.call is None:
            return []
        name, number = self.call
        rule = f"inject={name}:signal=SIGKILL:when={number}"
        # Without --seccomp-bpf, under which strace 6.1 counts the calls but sends no signal.
        return ["strace", "-f", "-qqq", "-o", os.devnull, f"--trace={name}", "-e", rule]

    def arm(self, process: subprocess.Popen[bytes]) -> threading.Timer | None:
        """Start the clock of a kill at a moment."""
        if self.seconds is None:
            return None
        timer = threading.Timer(self.seconds, process.kill)
        timer.start()
        return timer


def run_line(
    side: Side,
    stages: Sequence[str],
    kills: Mapping[str, Kill] | None = None,
    *,
    patience: int = 30,
    before: Sequence[str] = (),
) -> dict[str, int]:
    """Run *stages* as a pipe, *kills* among them; return how each ended (-9: killed).

    They wait *patience* seconds for their peers; *before* are words before each command.
    """
    processes: list[subprocess.Popen[bytes]] = []
    timers: list[threading.Timer] = []
    for number, stage in enumerate(stages):
        kill = (kills or {}).get(stage, Kill())
        flags = ["--until-eose"] if stage == "listen" else ["--pending"]
        if stage in _ONLINE:
            flags += ["--timeout", str(patience)]
        with (side.folder / f"{stage}.err").open("ab") as told:
            process = side.start(
                stage, *flags, before=[*before, *kill.before], stderr=told,
                stdin=processes[-1].stdout if processes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if number + 1 < len(stages) else subprocess.DEVNULL,
            )  # fmt: skip
        if timer := kill.arm(process):
            timers.append(timer)
        if processes and processes[-1].stdout is not None:
            processes[-1].stdout.close()
        processes.append(process)
    try:
        return {name: _ended(each) for name, each in zip(stages, processes, strict=True)}
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()


def _ended(process: subprocess.Popen[bytes]) -> int:
    status = process.wait(120)
    return status - 256 if status > 128 else status


def disturbed_line(side: Side, stages: Sequence[str], usual: Mapping[str, Usual], draw: random.Random) -> int:
    """Run *stages* and kill one of them; return how many were killed: 0 when it was over before."""
    stage = draw.choice(stages)
    ends = run_line(side, stages, {stage: Kill.draw(draw, usual[stage])})
    for name, status in ends.items():
        # A stage whose reader is dead dies of SIGPIPE.
        allowed = {0, -signal.SIGPIPE} | ({-signal.SIGKILL} if name == stage else set())
        assert status in allowed, (name, ends, (side.folder / f"{name}.err").read_text()[-2000:])
    return list(ends.values()).count(-signal.SIGKILL)


def measure(side: Side, command: Sequence[str]) -> Usual:
    """Return what *command* usually is; it must end well."""
    log = side.folder / "calls.log"
    begin = time.monotonic()
    side.text(*command, before=["strace", "-f", "-qqq", "--seccomp-bpf", "-o", str(log), f"--trace={CALLS}"])
    seconds = time.monotonic() - begin
    count: Counter[tuple[str, str]] = Counter()
    calls = []
    for line in log.read_text(errors="replace").splitlines():
        if found := re.match(r"(\d+)\s+([a-z0-9]+)\(", line):
            thread, name = found.groups()
            count[thread, name] += 1
            calls.append((name, count[thread, name]))
    return Usual(seconds, tuple(dict.fromkeys(calls)))


# --- one seed --------------------------------------------------------------------------------------


@dataclass
class Story:
    """One machine's captures on their way, with kills drawn from a seed."""

    world: World
    seed: int
    usual: dict[str, Usual] = field(default_factory=dict)
    slices: int = 2
    killed: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.side = self.world.machine(f"machine-{self.seed}")
        self.export = export(self.side.folder, f"host-{self.seed}", self.draw, self.slices)

    def capture(self, cut: int) -> list[str]:
        """Return the command that captures until *cut*."""
        return ["capture", "--no-screenshots", "--activity", str(self.export.file), "--until", iso(cut)]

    def capture_all(self) -> None:
        """Capture each slice; of an even seed one capture is killed, and run again."""
        disturbed = self.seed // 2 % len(self.export.cuts) if self.seed % 2 == 0 else None
        for number, cut in enumerate(self.export.cuts):
            command = self.capture(cut)
            if number == disturbed and self._killed(command):
                self.killed += 1
            self.side.text(*command)

    def _killed(self, command: Sequence[str]) -> bool:
        """Run *command* with a kill ahead and return whether it was reached."""
        kill = Kill.draw(self.draw, self.usual["capture"])
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = self.side.start(*command, before=kill.before, **quiet)
        timer = kill.arm(process)
        status = _ended(process)
        if timer:
            timer.cancel()
            timer.join()
        assert status in (0, -signal.SIGKILL), status
        return status != 0

    def send(self) -> None:
        """Run the worker's line to its end; of an odd seed one stage is killed, sometimes twice."""
        if self.seed % 2 == 1:
            for _ in range(self.draw.choice((1, 1, 2))):
                self.killed += disturbed_line(self.side, SEND, self.usual, self.draw)
        run = run_line(self.side, SEND)
        assert set(run.values()) == {0}, (run, self.told())

    def told(self) -> str:
        """Return what the stages said on either side."""
        folders = (self.side.folder, self.world.operator.folder)
        return "\n".join(path.read_text()[-1000:] for folder in folders for path in folder.glob("*.err"))

    # --- the end ---

    def check(self) -> None:
        """Fail unless all is as after an undisturbed run."""
        self._check_worker()
        self._check_dvm()
        self._check_leftovers()

    def _check_worker(self) -> None:
        rows = query(self.side, "SELECT sequence, state, error FROM capture ORDER BY device, sequence")
        assert rows == [(number, "published", None) for number in range(1, self.slices + 1)], rows
        assert query(self.side, "SELECT count(*), count(published) FROM wrap") == [(2 * self.slices,) * 2]

    def _check_dvm(self) -> None:
        ((device,),) = query(self.side, "SELECT id FROM device WHERE id IN (SELECT device FROM capture)")
        stored = query(
            self.world.operator, "SELECT sequence, sha256, link FROM bundle WHERE device = ?", device
        )
        sent = query(self.side, "SELECT sequence, json_extract(bundle, '$.sha256'), link FROM capture")
        assert sorted(stored) == sorted(sent)
        assert verify_chain(parse_link(link) for _, _, link in stored) == []
        assert self._stored_events() == self.export.pieces()
        for _, sha256, _ in stored:
            sql = "SELECT outcome FROM inbox JOIN bundle USING (wrap) WHERE sha256 = ?"
            assert query(self.world.operator, sql, sha256) == [("ingested",)]
        assert query(self.world.operator, "SELECT 1 FROM inbox WHERE outcome != 'ingested'") == []

    def _stored_events(self) -> list[Event]:
        rows = query(
            self.world.operator,
            "SELECT bucket.bucket, begin_us, end_us, data FROM bucket_event "
            "JOIN bucket ON bucket.id = bucket_id WHERE device_id = ?",
            f"file:{self.export.host}",
        )
        return sorted((name, a, b, json.dumps(json.loads(data), sort_keys=True)) for name, a, b, data in rows)

    def _check_leftovers(self) -> None:
        assert list((self.side.state / "outbox").iterdir()) == []
        ids = {name for (name,) in query(self.side, "SELECT id FROM capture")}
        assert {path.name for path in (self.side.state / "bundles").iterdir()} == {f"{x}.zip" for x in ids}
        evidence = self.world.operator.folder / "data" / "evidence"
        kept = {sha256 for (sha256,) in query(self.world.operator, "SELECT sha256 FROM bundle")}
        assert {path.name for path in evidence.rglob("*") if path.is_file()} == kept
        assert list((evidence / ".work").iterdir()) == []
