from __future__ import annotations

import errno
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from powdo.adapters.allow import state as module
from powdo.adapters.allow.order import encode
from powdo.adapters.allow.state import State
from powdo.errors import BusyError, CannotCreateError, ConfigurationError, InputMissingError, OutputError
from tests.allow_relay import queue_lines

A, B, C = (digit * 64 for digit in "abc")


@pytest.fixture
def told() -> list[str]:
    """Return what a person is told."""
    return []


@pytest.fixture
def state(tmp_path: Path, told: list[str]) -> State:
    """Return the state in a folder that is not there yet."""
    return State(tmp_path / "state", told.append)


def waiting(state: State) -> list[tuple[str, str]]:
    """Return action and pubkey of what waits."""
    return [(change.action, change.pubkey) for change in state.waiting()]


def test_reading_makes_nothing(state: State, tmp_path: Path) -> None:
    """Where nothing was asked there are no pins and nothing waits, and no file appears."""
    assert (state.pins(), state.waiting()) == (frozenset(), [])
    state.settle(["x"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_asked_waits_in_private_files(state: State, tmp_path: Path) -> None:
    """Pins and queue hold what was asked, across objects, and nobody else can read them."""
    state.ask("add", [A, B, A], pin=True)
    state.ask("add", [C])
    again = State(tmp_path / "state", lambda _: None)
    assert again.pins() == {A, B}
    assert waiting(again) == [("add", A), ("add", B), ("add", C)]
    for path in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    state.ask("remove", [A], pin=True)
    assert again.pins() == {B}
    assert waiting(again) == [("add", B), ("add", C), ("remove", A)]


def test_settling_keeps_what_came_meanwhile(state: State, tmp_path: Path) -> None:
    """A change that was told leaves the file; one of the same key that was asked for meanwhile stays."""
    state.ask("add", [A, B])
    (first, second) = state.waiting()
    state.ask("remove", [A])
    state.settle([first.id], [replace(second, attempts=1)])
    assert waiting(state) == [("add", B), ("remove", A)]
    assert [line["attempts"] for line in queue_lines(tmp_path / "state")] == [1, 0]
    state.settle([change.id for change in state.waiting()])
    assert (tmp_path / "state" / "allow-queue.jsonl").read_bytes() == b""


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_that_was_cut_off_takes_no_other_with_it(
    state: State, tmp_path: Path, told: list[str], cut: int
) -> None:
    """After a torn line the others count, what is asked next too; it is told once and then gone."""
    state.ask("add", [A, B])
    path = tmp_path / "state" / "allow-queue.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    state.ask("remove", [C])
    survived = [("add", A)] if cut > 1 else [("add", A), ("add", B)]  # only the newline was missing
    assert waiting(state) == [*survived, ("remove", C)]
    assert waiting(state) == [*survived, ("remove", C)]
    assert told == ([f"1 damaged line in '{path}' left out"] if cut > 1 else [])
    state.settle([])
    told.clear()
    assert waiting(State(tmp_path / "state", told.append)) == [*survived, ("remove", C)]
    assert told == []


def test_damage_in_the_middle_is_told(state: State, tmp_path: Path, told: list[str]) -> None:
    """Nonsense between sound lines is counted and left out."""
    state.ask("add", [A])
    path = tmp_path / "state" / "allow-queue.jsonl"
    good = path.read_bytes()
    path.write_bytes(b"\x00\xff\n{}\n\n" + good + b"rubbish\n" + encode(state.waiting()[0])[:30])
    assert waiting(state) == [("add", A)]
    assert told == [f"4 damaged lines in '{path}' left out"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pubkeys": ["npub1"]}', b'{"pubkeys": [1]}'])
def test_damaged_pins_stop_everything(state: State, tmp_path: Path, content: bytes) -> None:
    """Pins that cannot be read are an error, and are not written over."""
    state.ask("add", [A], pin=True)
    path = tmp_path / "state" / "allow-pins.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged"):
        state.pins()
    with pytest.raises(ConfigurationError, match="is damaged"):
        state.ask("add", [B], pin=True)
    assert path.read_bytes() == content
    assert waiting(state) == [("add", A)]


def test_a_full_disk_leaves_the_queue_as_it_was(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that cannot be written whole is taken back."""
    state.ask("add", [A])
    before = (tmp_path / "state" / "allow-queue.jsonl").read_bytes()
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[: len(data) // 2])

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        state.ask("add", [B])
    assert (tmp_path / "state" / "allow-queue.jsonl").read_bytes() == before


def test_unusable_places_are_told(tmp_path: Path) -> None:
    """A state directory that is a file, and a queue that is a directory, are errors with a status."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotCreateError):
        State(tmp_path / "file", lambda _: None).ask("add", [A])
    (tmp_path / "state" / "allow-queue.jsonl").mkdir(parents=True)
    (tmp_path / "state" / "allow-pins.json").mkdir()
    state = State(tmp_path / "state", lambda _: None)
    with pytest.raises(CannotCreateError):
        state.ask("add", [A])
    with pytest.raises(InputMissingError):
        state.waiting()
    with pytest.raises(InputMissingError):
        state.pins()


def test_senders_take_turns(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one run speaks to the relay another waits, and can ask for changes all the same."""
    other = State(tmp_path / "state", lambda _: None)
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    with state.sending():
        other.ask("add", [A])
        with pytest.raises(BusyError), other.sending():
            pytest.fail("two at once")
    with other.sending():
        assert waiting(other) == [("add", A)]


def test_many_ask_at_once(state: State) -> None:
    """Of what several ask at the same time nothing is lost."""
    pubkeys = [f"{number:064x}" for number in range(40)]
    threads = [
        threading.Thread(target=state.ask, args=("add", [key]), kwargs={"pin": True}) for key in pubkeys
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.pins() == set(pubkeys)
    assert sorted(change.pubkey for change in state.waiting()) == pubkeys
