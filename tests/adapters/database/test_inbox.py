from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from powdo.adapters.database import Database, Inbox
from powdo.adapters.database import inbox as inbox_module

NOW = 1_800_000_000


def event(number: int) -> dict[str, object]:
    """Return something with an id, and with text that not every database can hold."""
    return {"id": f"{number:064x}", "kind": 1059, "content": "é\x00\ud800"}


def test_an_event_is_new_once(database: Database) -> None:
    """The second copy of a wrap, from whichever relay, is not new."""
    inbox = Inbox(database)
    assert inbox.add(event(1), "wss://one", NOW)
    assert not inbox.add(event(1), "wss://two", NOW)
    assert inbox.knows(f"{1:064x}") and not inbox.knows(f"{2:064x}")


def test_a_claimed_wrap_is_nobody_elses(database: Database) -> None:
    """A claim hides a wrap from the next claim until its lease is over."""
    inbox = Inbox(database)
    inbox.add(event(1), "", NOW)
    inbox.add(event(2), "", NOW)
    first = inbox.claim(NOW, lease=60, limit=10)
    assert [item.event for item in first] == [event(1), event(2)]
    assert inbox.claim(NOW, limit=10) == []
    assert inbox.next_retry() == NOW + 60
    assert len(inbox.claim(NOW + 60, limit=10)) == 2


def test_a_deferred_wrap_comes_back(database: Database) -> None:
    """A deferred wrap is due again at its time, with one more attempt counted."""
    inbox = Inbox(database)
    inbox.add(event(1), "", NOW)
    (item,) = inbox.claim(NOW)
    inbox.defer(item.wrap, "away", NOW + 300)
    assert inbox.claim(NOW + 299) == []
    assert inbox.next_retry() == NOW + 300
    assert inbox.claim(NOW + 300)[0].attempts == 1


def test_a_done_wrap_is_remembered(database: Database) -> None:
    """What is done neither waits nor counts as new, and its outcome can be asked for."""
    inbox = Inbox(database)
    inbox.add(event(1), "", NOW)
    inbox.claim(NOW)
    inbox.done(f"{1:064x}", "skipped")
    assert inbox.next_retry() is None
    assert not inbox.add(event(1), "", NOW)
    assert inbox.accept(event(1), NOW) is None
    assert inbox.outcome(f"{1:064x}") == "skipped"


def test_an_accepted_wrap_is_ours_at_once(database: Database) -> None:
    """A wrap from stdin is added and claimed in one step, even while it waits for a later try."""
    inbox = Inbox(database)
    item = inbox.accept(event(1), NOW)
    assert item is not None and item.attempts == 0
    assert inbox.claim(NOW) == []
    inbox.defer(item.wrap, "away", NOW + 300)
    again = inbox.accept(event(1), NOW)
    assert again is not None and again.attempts == 1


def test_many_wraps_are_accepted_with_one_commit(database: Database) -> None:
    """Wraps that arrive together are added and claimed at once, without those that are done or another's."""
    inbox, other = Inbox(database), Inbox(database)
    other._me = "another"
    for number, owner in ((1, inbox), (2, other)):
        owner.add(event(number), "", NOW)
        assert owner.accept(event(number), NOW) is not None
    inbox.done(f"{1:064x}", "ingested")
    commits = []
    sa.event.listen(database._engine, "commit", commits.append)
    items = inbox.accept_all([event(number) for number in (5, 3, 1, 2, 4)], NOW)
    assert [item.event for item in items] == [event(3), event(4), event(5)]
    assert len(commits) == 1
    assert other.claim(NOW) == []


def test_a_strangers_wrap_can_be_opened_again(database: Database) -> None:
    """Once a stranger is enrolled their wrap may wait again; no other that is done may."""
    inbox = Inbox(database)
    for number, outcome in ((1, "stranger"), (2, "ingested")):
        inbox.accept(event(number), NOW)
        inbox.done(f"{number:064x}", outcome)
        inbox.reopen(event(number), NOW)
    assert [item.event for item in inbox.claim(NOW, limit=9)] == [event(1)]


def test_relays_are_read_on_from_where_they_ended(database: Database) -> None:
    """The last complete sync is kept per relay."""
    inbox = Inbox(database)
    assert inbox.synced("wss://one") is None
    inbox.set_synced("wss://one", NOW)
    inbox.set_synced("wss://one", NOW + 5)
    assert inbox.synced("wss://one") == NOW + 5
    assert inbox.synced("wss://two") is None


def test_strangers_are_capped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of strangers' wraps fills the database."""
    monkeypatch.setattr(inbox_module, "STRANGERS", 20)
    inbox = Inbox(database)
    for number in range(60):
        inbox.add(event(number), "", NOW + number)
        inbox.done(f"{number:064x}", "stranger")
    with database.read() as connection:
        left = connection.execute(sa.text("SELECT count(*), max(wrap) FROM inbox")).one()
    assert left[0] <= 21
    assert left[1] == f"{59:064x}"


_CLAIM = """
import sys, time
from powdo.adapters.database import Inbox
inbox = Inbox(sys.argv[1])
print(len(inbox.claim(int(sys.argv[2]))), flush=True)
time.sleep(60)
"""


def test_the_lease_of_a_killed_process_ends(database_url: str) -> None:
    """A wrap claimed by a process that was killed is free at once, one claimed by a living process is not."""
    Inbox(database_url).add(event(1), "", NOW)
    process = subprocess.Popen(
        [sys.executable, "-c", _CLAIM, database_url, str(NOW)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert Inbox(database_url).claim(NOW) == []
    finally:
        process.kill()
        process.communicate()
    assert len(Inbox(database_url).claim(NOW)) == 1


_DRAIN = """
import sys
from powdo.adapters.database import Inbox
inbox = Inbox(sys.argv[1])
while items := inbox.claim(int(sys.argv[2]), limit=3):
    for item in items:
        print(item.wrap, flush=True)
        inbox.done(item.wrap, "ingested")
"""


def test_many_processes_share_one_queue(database_url: str) -> None:
    """Three processes that drain one inbox take each wrap exactly once."""
    inbox = Inbox(database_url)
    for number in range(40):
        inbox.add(event(number), "", NOW)
    command = [sys.executable, "-c", _DRAIN, database_url, str(NOW)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = [line for process in processes for line in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(taken) == [f"{number:064x}" for number in range(40)]


def test_added_means_on_the_disk(tmp_path: Path) -> None:
    """A process killed right after `add` has lost nothing."""
    url = f"sqlite:///{tmp_path}/dvm.sqlite"
    code = (
        "import os,sys; from powdo.adapters.database import Inbox; "
        "Inbox(sys.argv[1]).add({'id': '0' * 64}, '', 1); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, url]).returncode == -9
    assert len(Inbox(url).claim(int(time.time()))) == 1
