"""The whole loop with faults drawn from a seed, and the state in which each capture must end.

Rules:
- a machine a seed, all of one worker; relay, Blossom server and DVM serve every seed of a run;
- a fault strikes while lines run; afterwards calm rounds follow, until every capture has come to its end;
- the end is one of three: stored once at the DVM with its receipt matched here, withheld, or in the outbox
  with a reason. What is at the DVM is compared with what the export says.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from powdo.adapters.blossom import BlossomClient
from powdo.adapters.keystore import Keystore
from powdo.errors import RefusedError
from powdo.nips.event import Event as NostrEvent
from powdo.worktime.cutting import clip
from powdo.worktime.statement import parse_statement
from tests.faults.harness import RECEIVE, SEND, Kill, Usual, run_line
from tests.faults.proxy import CALM, Proxy, Weather
from tests.faults.world import Event, Export, Server, Side, World, export, iso, query

ANSWER, TAKE = ("receipt", "publish"), ("listen", "acknowledge")
STORM = Weather(cut=0.4, slow=0.2, doubled=0.3)
_ROUNDS = 6
_MORNING = 1_794_988_800
#: Statuses in which a disturbed stage may end: try again, the disk is full, killed, its reader dead.
_DISTURBED = {0, 74, 75, -signal.SIGKILL, -signal.SIGPIPE}


@dataclass
class Sea:
    """A world whose servers lie behind proxies, and how its stages usually run."""

    world: World
    proxies: tuple[Proxy, Proxy]
    usual: Mapping[str, Usual]
    struck: dict[str, int] = field(default_factory=dict)

    @property
    def operator(self) -> Side:
        """The DVM's machine."""
        return self.world.operator

    def count(self, fault: str) -> None:
        """Count one *fault*."""
        self.struck[fault] = self.struck.get(fault, 0) + 1


# --- faults ----------------------------------------------------------------------------------------

Disturbed = Callable[[Sea, Side, Sequence[str], random.Random], None]


def killed(sea: Sea, side: Side, stages: Sequence[str], draw: random.Random) -> None:
    """Kill one of *stages*, at a moment or as it enters a system call."""
    stage = draw.choice(stages)
    ends = run_line(side, stages, {stage: Kill.draw(draw, sea.usual[stage])}, patience=10)
    _allowed(side, ends)


def stormy(sea: Sea, side: Side, stages: Sequence[str], draw: random.Random) -> None:
    """Cut, slow and double connections while *stages* run."""
    for proxy in sea.proxies:
        proxy.weather = STORM
    try:
        _allowed(side, run_line(side, stages, patience=5))
    finally:
        for proxy in sea.proxies:
            proxy.weather = CALM


def without_server(sea: Sea, side: Side, stages: Sequence[str], draw: random.Random) -> None:
    """Kill relay or Blossom server midway, and start it again a little later."""
    server = draw.choice(sea.world.servers)
    with _midway(draw, lambda: _restart(server, draw)):
        _allowed(side, run_line(side, stages, patience=5))


def _restart(server: Server, draw: random.Random) -> None:
    server.end(signal.SIGKILL)
    time.sleep(draw.uniform(0, 1))
    assert server.start() is not None


def without_database(sea: Sea, side: Side, stages: Sequence[str], draw: random.Random) -> None:
    """Hold the DVM's database, or the worker's outbox, so that nobody writes to it for a while."""
    name = "dvm.sqlite" if side is sea.operator else "outbox.sqlite"

    def hold() -> None:
        with closing(sqlite3.connect(side.state / name, timeout=20, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            time.sleep(draw.uniform(0.2, 2))
            db.execute("ROLLBACK")

    with _midway(draw, hold):
        _allowed(side, run_line(side, stages, patience=10))


def skewed(sea: Sea, side: Side, stages: Sequence[str], draw: random.Random) -> None:
    """Run *stages* with a clock up to ten minutes wrong, for which servers may refuse tokens (69, 77)."""
    minutes = draw.choice((-10, -3, 3, 10))
    ends = run_line(side, stages, patience=10, before=("faketime", "-f", f"{minutes:+}m"))
    _allowed(side, ends, also={69, 77})


def unwritable(sea: Sea, side: Side, stages: Sequence[str], draw: random.Random) -> None:
    """Let no file of *side* grow beyond a size, as on a disk that is full."""
    limit = draw.choice((0, 4096, 65_536, 150_000))
    _allowed(side, run_line(side, stages, patience=10, before=("prlimit", f"--fsize={limit}")))


def _allowed(side: Side, ends: Mapping[str, int], also: Collection[int] = ()) -> None:
    """Fail where a stage ended in another status than a fault may lead to."""
    assert set(ends.values()) <= _DISTURBED.union(also), (ends, told(side))


@contextmanager
def _midway(draw: random.Random, strike: Callable[[], None]) -> Iterator[None]:
    """Do *strike* in a thread while the block runs, and wait for its end."""
    failures: list[BaseException] = []

    def later() -> None:
        time.sleep(delay)
        try:
            strike()
        except BaseException as error:
            failures.append(error)

    delay = draw.uniform(0, 1.5)
    thread = threading.Thread(target=later)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert not failures, failures


FAULTS: tuple[Disturbed, ...] = (killed, killed, stormy, without_server, without_database, skewed, unwritable)


def disturb(sea: Sea, side: Side, stages: Sequence[str], draw: random.Random) -> None:
    """Run *stages* with a fault that *draw* chooses."""
    fault = draw.choice(FAULTS)
    sea.count(fault.__name__)
    fault(sea, side, stages, draw)


# --- one machine -----------------------------------------------------------------------------------


@dataclass
class Machine:
    """One machine of the worker's, and what became of its captures."""

    sea: Sea
    seed: int
    taken_at: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.side = self.sea.world.machine(f"loop-{self.seed}")
        self.export: Export = export(self.side.folder, f"loop-{self.seed}", self.draw, slices=3)
        self.keep_days = self.draw.choice((0, 14))
        config = self.side.folder / "powdo.toml"
        own = f'[worker]\nresend_after = "1s"\nkeep_days = {self.keep_days}'
        config.write_text(config.read_text().replace("[worker]", own))

    def capture(self) -> None:
        """Capture each slice; some are dropped, and some bundles damaged, before they are sent."""
        self._capture(*self.export.cuts[:2])
        if self.draw.random() < 0.2:
            self.sea.count("dropped")
            self.side.text("outbox", "drop", self._first())
        elif self.draw.random() < 0.2:
            self.sea.count("truncated")
            self.side.text("bundle", "--pending")
            path = self.side.state / "bundles" / f"{self._first()}.zip"
            os.truncate(path, self.draw.randrange(path.stat().st_size))

    def _capture(self, *cuts: int) -> None:
        for cut in cuts:
            flags = ["--no-screenshots", "--activity", str(self.export.file), "--until", iso(cut)]
            self.side.text("capture", *flags)

    def mend(self) -> bool:
        """Do what a person does about a damaged bundle: drop it, and go on; return whether there was one."""
        if not self._damaged():
            return False
        sql = "SELECT id FROM capture WHERE state = 'bundled' AND error IS NOT NULL"
        self.side.text("outbox", "drop", *(name for (name,) in query(self.side, sql)))
        self._capture(self.export.cuts[2])
        return True

    def _first(self) -> str:
        ((name,),) = query(self.side, "SELECT id FROM capture ORDER BY sequence LIMIT 1")
        return str(name)

    def send(self) -> None:
        """Run the worker's line with a fault, and sometimes another one."""
        for _ in range(self.draw.choice((1, 1, 2))):
            try:
                disturb(self.sea, self.side, SEND, self.draw)
            except AssertionError:
                if not self._damaged():
                    raise
        if self.draw.random() < 0.3:
            self._forget()

    def _damaged(self) -> bool:
        """Return whether a bundle here is not whole, which `upload` ends by 65 for."""
        sql = "SELECT count(*) FROM capture WHERE state = 'bundled' AND error LIKE '%not the file%'"
        return query(self.side, sql) != [(0,)]

    def _forget(self) -> None:
        """Let the Blossom server forget what was uploaded."""
        store = Keystore(self.side.folder / "data" / "keystore.json")
        key = store.unlock("ana-access", bytes.fromhex("5a" * 32))
        client = BlossomClient(f"http://{self.sea.proxies[1].address}", key, timeout=20)
        sql = "SELECT json_extract(bundle, '$.sha256') FROM capture WHERE state IN ('uploaded', 'published')"
        for (sha256,) in query(self.side, sql):
            try:
                client.delete(sha256)
                self.sea.count("forgotten")
            except RefusedError:
                pass  # it was never there

    def take(self) -> None:
        """Take receipts, with a fault now and then."""
        if self.draw.random() < 0.3:
            disturb(self.sea, self.side, TAKE, self.draw)

    def calm_send(self) -> None:
        """Take receipts and send what waits; only a damaged bundle may be told."""
        ends = run_line(self.side, TAKE) | run_line(self.side, SEND)
        wrong = {name: status for name, status in ends.items() if status}
        if set(wrong.values()) <= {65} and self._damaged():
            return
        assert not wrong, (self.seed, ends, told(self.side))

    @property
    def states(self) -> dict[int, tuple[str, str | None]]:
        """The state of each capture, and its error, by number."""
        rows = query(self.side, "SELECT sequence, state, error FROM capture ORDER BY sequence")
        return {sequence: (state, error) for sequence, state, error in rows}

    @property
    def done(self) -> bool:
        """Whether each capture has come to its end."""
        return all(
            state in ("acknowledged", "withheld") or (state == "bundled" and error is not None)
            for state, error in self.states.values()
        )

    # --- the end ---

    def check(self) -> None:
        """Fail unless each capture is stored once and receipted, withheld, or here with a reason."""
        assert self.done, (self.seed, self.states, told(self.side))
        stored = self._stored()
        mine = {number for number, (state, _) in self.states.items() if state == "acknowledged"}
        assert set(stored) == mine, (self.seed, self.states, stored)
        self._check_receipts(stored)
        assert self._events() == self._pieces(mine), self.seed
        if self.keep_days == 0:
            kept = {path.name.removesuffix(".zip") for path in (self.side.state / "bundles").iterdir()}
            # A receipt taken under a clock that was ahead keeps its bundle until that time has come.
            sql = "SELECT capture, at FROM receipt JOIN capture ON id = capture WHERE state = 'acknowledged'"
            late = {name: at for name, at in query(self.side, sql) if name in kept}
            assert all(at > self.taken_at for at in late.values()), (self.seed, late, self.taken_at)

    def _stored(self) -> dict[int, tuple[str, str]]:
        """Return the hash and the statement of each bundle that the DVM has, each once."""
        ((device,),) = query(self.side, "SELECT DISTINCT device FROM capture")
        sql = "SELECT sequence, sha256, statement, receipt_due FROM bundle WHERE device = ?"
        rows = query(self.sea.operator, sql, device)
        assert len({row[0] for row in rows}) == len(rows)
        assert not any(due for *_, due in rows), (self.seed, rows)
        return {sequence: (sha256, statement) for sequence, sha256, statement, _ in rows}

    def _check_receipts(self, stored: Mapping[int, tuple[str, str]]) -> None:
        sql = "SELECT sequence, json_extract(bundle, '$.sha256'), receipt.record FROM capture "
        rows = query(self.side, sql + "JOIN receipt ON receipt.capture = capture.id WHERE stored")
        assert {sequence for sequence, *_ in rows} == set(stored)
        for sequence, sha256, record in rows:
            theirs, statement = stored[sequence]
            event = NostrEvent.from_json(json.loads(record)["statement"])
            event.verify()
            assert (theirs, event) == (sha256, NostrEvent.parse(statement))
            assert parse_statement(event.content).blob == sha256

    def _events(self) -> list[Event]:
        rows = query(
            self.sea.operator,
            "SELECT bucket.bucket, begin_us, end_us, data FROM bucket_event "
            "JOIN bucket ON bucket.id = bucket_id WHERE device_id = ?",
            f"file:{self.export.host}",
        )
        return sorted((name, a, b, json.dumps(json.loads(data), sort_keys=True)) for name, a, b, data in rows)

    def _pieces(self, numbers: set[int]) -> list[Event]:
        """Return the events of the captures with these *numbers*."""
        limits = [_MORNING, *self.export.cuts]
        return sorted(
            (name, piece.begin, piece.end, json.dumps(piece.data, sort_keys=True))
            for name, events in self.export.buckets.items()
            for number in numbers
            for piece in clip(events, limits[number - 1], limits[number])
        )


def told(side: Side) -> str:
    """Return what the stages of *side* said last."""
    return "\n".join(path.read_text()[-800:] for path in side.folder.glob("*.err"))


# --- a batch ---------------------------------------------------------------------------------------


def receive(sea: Sea, draw: random.Random) -> None:
    """Run the DVM's lines, each with a fault."""
    disturb(sea, sea.operator, RECEIVE, draw)
    disturb(sea, sea.operator, ANSWER, draw)


def let_waits_end(operator: Side) -> None:
    """Make the inbox due, as if its back-off were over."""
    with closing(sqlite3.connect(operator.state / "dvm.sqlite", timeout=20)) as db, db:
        db.execute("UPDATE inbox SET next_at = 0")


def settle(sea: Sea, machines: Sequence[Machine]) -> None:
    """Run calm rounds until each capture of *machines* has come to its end."""
    for _ in range(_ROUNDS):
        for machine in machines:
            if not machine.done:
                machine.calm_send()
        let_waits_end(sea.operator)
        ends = run_line(sea.operator, RECEIVE) | run_line(sea.operator, ANSWER)
        # What was forgotten cannot be had yet: 69, or 75 once for each wrap that waits.
        assert set(ends.values()) <= {0, 69, 75}, (ends, told(sea.operator))
        for machine in machines:
            if not machine.done:
                ends = run_line(machine.side, TAKE)
                assert set(ends.values()) == {0}, (machine.seed, ends, told(machine.side))
        if all(machine.done for machine in machines):
            break
    for machine in machines:
        machine.taken_at = int(time.time())
        run_line(machine.side, TAKE)
