"""What becomes of a capture, in words, and what its worker can still do about it."""

from __future__ import annotations

import math
import shlex
import time
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from powdo.errors import BadRecordError
from powdo.worktime.pieces import State

if TYPE_CHECKING:
    from powdo.adapters.outbox import Entry, Outbox
    from powdo.run import Run


class Fate(NamedTuple):
    """How far a capture has come, what happens next, and the commands that change it."""

    state: State
    told: str
    commands: tuple[tuple[str, str], ...] = ()


_FATES = {
    "bundled": (State("encrypted", "fair"), "Encrypted here; it is uploaded with the next run."),
    "uploaded": (
        State("uploaded", "fair"),
        "Its ciphertext lies on the Blossom server. Nobody has the key; it is sealed with the next run.",
    ),
    "wrapped": (
        State("sealed", "fair"),
        "The key is sealed for its recipients and goes out with the next run. It cannot be taken back.",
    ),
    "published": (State("sent", "good"), "Sent. It cannot be taken back."),
    "acknowledged": (State("received", "good"), "The recipient has stated that it is stored."),
    "rejected": (State("rejected", "bad"), "The recipient has refused it."),
    "withheld": (
        State("withheld", "gone"),
        "Destroyed before it was sent. Its place in the chain stays, with its period and nothing else.",
    ),
}


class Fates:
    """What the settings and the outbox say of captures at this moment."""

    def __init__(self, run: Run, outbox: Outbox, zone: tzinfo) -> None:
        self._outbox, self._zone = outbox, zone
        self._worker = run.settings.worker
        profile = run.config_choice[1]
        self._flags = f" --profile {shlex.quote(profile)}" if profile else ""

    def of(self, entry: Entry) -> Fate:
        """Return what becomes of *entry*."""
        name = entry.capture.id
        commands = [("Destroy it", self.command("drop", name))] if self._can_drop(entry) else []
        if entry.state != "captured":
            state, told = _FATES.get(entry.state, (State(entry.state, "fair"), ""))
            return Fate(state, told, tuple(commands))
        due = self._due(entry)
        if due <= time.time():
            return Fate(State("ready", "fair"), "Encrypted and sent with the next run.", tuple(commands))
        commands.insert(0, ("Let it go", self.command("release", name)))
        if due == math.inf:
            told = "Held until you release it."
        else:
            when = datetime.fromtimestamp(due, self._zone)
            told = f"Held until {when:%Y-%m-%d %H:%M}; then it is encrypted and sent with the next run."
        return Fate(State("held", "open"), told, tuple(commands))

    def command(self, verb: str, name: str) -> str:
        """Return the command line that does *verb* to the capture *name*."""
        return f"powdo outbox {verb}{self._flags} {name}"

    def _due(self, entry: Entry) -> float:
        """Return the unix time from which on *entry* is encrypted; infinity until somebody releases it."""
        if self._outbox.is_released(entry.capture.id):
            return 0
        return math.inf if self._worker.review else entry.created + self._worker.hold

    def _can_drop(self, entry: Entry) -> bool:
        if entry.state == "withheld":
            return False
        try:
            self._outbox.droppable(entry.capture.id)
        except BadRecordError:
            return False
        return True
