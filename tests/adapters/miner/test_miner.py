"""The miners: threads and processes, chosen, stopped, and driven to the end of a search."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from powdo.adapters.miner import available, choosing, cores, make_miner, mine
from powdo.errors import ConfigurationError
from powdo.nips.event import Unsigned, event_id
from powdo.nips.pow import committed, difficulty
from powdo.nips.pow_search import Miner
from powdo.nips.pow_template import make_template

_NOTE = Unsigned("a" * 64, 1, 1, (("nonce", "7", "40"), ("t", "x")), "hello")


@pytest.fixture(params=available())
def miner(request: pytest.FixtureRequest):
    """Return a miner of each kernel, two at once."""
    with closing(make_miner(request.param, 2)) as made:
        yield made


def test_an_event_is_mined(miner: Miner) -> None:
    """The event keeps all but nonce and time; the nonce is its last tag and its id has the bits."""
    told: list[int] = []
    mined = mine(miner, _NOTE, 10, progress=told.append)
    assert mined is not None
    assert difficulty(event_id(*mined)) >= 10 == committed(mined.tags)
    assert mined.tags[0] == ("t", "x") and [tag[0] for tag in mined.tags] == ["t", "nonce"]
    assert (mined.pubkey, mined.kind, mined.content) == ("a" * 64, 1, "hello")
    assert abs(mined.created_at - time.time()) < 60
    assert sum(told) > 0


@pytest.mark.parametrize("kind", [13, 1059, 21059])
def test_dates_of_seals_and_wraps_are_kept(kind: int) -> None:
    """What is dated back on purpose stays so while it is mined."""
    with closing(make_miner(None, 1)) as miner:
        mined = mine(miner, _NOTE._replace(kind=kind), 4)
    assert mined is not None and mined.created_at == 1


def test_a_search_ends_by_its_time_or_when_it_is_interrupted(miner: Miner) -> None:
    """What cannot be found is given up when its time is over, or when somebody says so."""
    assert mine(miner, _NOTE, 200, seconds=0.05) is None
    assert mine(miner, _NOTE, 200, interrupted=lambda: True) is None


def test_a_slice_is_stopped_from_another_thread(miner: Miner) -> None:
    """`stop` ends a slice that would last for an hour, and `resume` lets the next one be worked."""
    template = make_template(_NOTE, 256)
    miner.work(template, template.turns.start, 0.01)
    threading.Timer(0.05, miner.stop).start()
    begin = time.monotonic()
    assert miner.work(template, template.turns.start, 3600.0).nonce is None
    assert time.monotonic() - begin < 30
    miner.resume()
    assert miner.work(template, template.turns.start, 0.2).attempts > 0


def test_slices_do_not_overlap(miner: Miner) -> None:
    """A slice tells how many turns it has used, at least as many as its attempts need."""
    template = make_template(_NOTE, 256)
    done = miner.work(template, template.turns.start, 0.2)
    assert done.turns * 10_000 >= done.attempts > 0


def test_a_kernel_is_chosen_by_name_by_variable_or_by_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag beats POWDO_MINER beats the fastest; one that is not there is told with those that are."""
    monkeypatch.setenv("POWDO_MINER", "hashlib")
    with closing(make_miner(available()[0])) as flagged, closing(make_miner()) as variable:
        assert (flagged.name, variable.name) == (available()[0], "hashlib")
    monkeypatch.delenv("POWDO_MINER")
    assert choosing.fastest() in available()
    with closing(make_miner()) as made:
        assert made.workers == cores() >= 1
    with pytest.raises(ConfigurationError) as caught:
        make_miner("sha-512")
    assert "hashlib" in (caught.value.hint or "")


def test_without_the_extension_hashlib_mines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there was no compiler, the one choice left is hashlib."""
    monkeypatch.setattr(choosing, "kernels", lambda: ())
    assert available() == ("hashlib",)
    with closing(make_miner(None, 1)) as miner:
        assert miner.name == "hashlib"
        assert mine(miner, _NOTE, 6) is not None


def _children() -> list[int]:
    """Return the processes that this one has started to mine."""
    lists = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    numbers = [int(word) for one in lists for word in one.read_text().split()]
    return [number for number in numbers if b"miner.worker" in Path(f"/proc/{number}/cmdline").read_bytes()]


def test_processes_that_were_killed_are_started_anew() -> None:
    """The slice under way fails; the next one is mined, and takes no answer of the one before for its own."""
    with closing(make_miner("hashlib", 2)) as miner:
        assert mine(miner, _NOTE, 6) is not None
        for number in _children():
            os.kill(number, signal.SIGKILL)
        with pytest.raises(OSError):
            mine(miner, _NOTE, 6)
        assert mine(miner, _NOTE, 8) is not None


def test_only_as_many_cores_as_the_cgroup_grants(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota of half a core is one thread, `max` or none at all is all we are bound to."""
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(choosing, "_CPU_MAX", limit)
    everything = cores()
    for text, count in (("50000 100000\n", 1), ("max 100000\n", everything), ("nonsense", everything)):
        limit.write_text(text)
        assert cores() == count
