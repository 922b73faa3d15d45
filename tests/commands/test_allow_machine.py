"""The allowlist as a state machine: keys, workers, bad weather and crashes in any order."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from powdo.adapters.allow import State
from powdo.commands.allow import allow
from powdo.commands.users import users
from powdo.errors import PowdoError, UsageError
from powdo.nips.curve import SecretKey
from tests.allow_relay import SECRET, AdminRelay, Weather, call

_VARIABLES = (
    "POWDO_CONFIG",
    "POWDO_STATE_DIR",
    "POWDO_DATA_DIR",
    "NOSTR_RELAY_ADMIN_URL",
    "NOSTR_RELAY_ADMIN_SECRET_FILE",
)
KEYS = [SecretKey(bytes([number]) * 32).pubkey for number in range(1, 8)]
IDENTITIES = {"ana": KEYS[5], "ben": KEYS[6]}
ACCESS = {"ana": KEYS[0:2], "ben": KEYS[2:3]}
PINNED = st.sampled_from(KEYS[1:5])
WORKER = st.sampled_from(("ana", "ben"))


class Machine(RuleBasedStateMachine):
    """A relay, the machine that tells it whom to let in, and what both should end with."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="powdo-test-"))
        self.before = {name: os.environ.get(name) for name in _VARIABLES}
        self.relay = AdminRelay().__enter__()
        secret = self.directory / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        values = (self.directory / "powdo.toml", self.directory, self.directory, self.relay.url, secret)
        os.environ.update(zip(_VARIABLES, map(str, values), strict=True))
        self.pins: set[str] = set()
        self.enrolled: dict[str, set[str]] = {}
        self.known: dict[str, set[str]] = {}

    @property
    def wanted(self) -> set[str]:
        """Whom the relay should let in."""
        return self.pins.union(*self.enrolled.values())

    def status(self, *words: str) -> int:
        """Return the status of a command, which the weather alone may spoil."""
        group = users if words[0] == "users" else allow
        with redirect_stderr(StringIO()):
            found = call(group, *words[1:]).console.status
        good = {"fine": {0}, "gone": {75}, "mute": {75}, "broken": {75}, 401: {77}, 404: {76}}
        assert found in good[self.relay.weather] | {0}
        return found

    @rule(weather=st.sampled_from(("fine", "fine", "gone", "mute", "broken", 401, 404)))
    def change_weather(self, weather: Weather) -> None:
        """Let the relay come, go, or answer nonsense."""
        self.relay.weather = weather

    @rule(pubkey=PINNED)
    def add(self, pubkey: str) -> None:
        """Pin a key."""
        self.pins.add(pubkey)
        self.status("allow", "add", pubkey)

    @rule(pubkey=PINNED)
    def remove(self, pubkey: str) -> None:
        """Unpin a key, which is refused where a worker needs it."""
        if pubkey in set().union(*self.enrolled.values()):
            with suppress(UsageError):
                self.status("allow", "remove", pubkey)
                raise AssertionError("a worker's key was removed")
        else:
            self.pins.discard(pubkey)
            self.status("allow", "remove", pubkey)

    @rule(name=WORKER, data=st.data())
    def enroll(self, name: str, data: st.DataObject) -> None:
        """Enroll a worker, anew or again, or give them one more access key."""
        access = data.draw(st.sampled_from(ACCESS[name]))
        self.known.setdefault(name, set()).add(access)
        self.enrolled[name] = set(self.known[name])
        self.status("users", "add", IDENTITIES[name], "--name", name, "--access", access)

    @precondition(lambda self: self.enrolled)
    @rule(data=st.data())
    def dismiss(self, data: st.DataObject) -> None:
        """Remove a worker."""
        name = data.draw(st.sampled_from(sorted(self.enrolled)))
        del self.enrolled[name]
        self.status("users", "remove", name)

    @rule(pubkey=PINNED, action=st.sampled_from(("add", "remove")))
    def die(self, pubkey: str, action: str) -> None:
        """Kill a run after it has written down what it was asked, and before it told anybody."""
        if action == "add":
            self.pins.add(pubkey)
        elif pubkey in set().union(*self.enrolled.values()):
            return
        else:
            self.pins.discard(pubkey)
        State(self.directory, lambda _: None).ask(action, [pubkey], pin=True)  # type: ignore[arg-type]  # an Action

    @rule(size=st.integers(1, 120))
    def tear(self, size: int) -> None:
        """Kill a run while it writes a line that nobody has counted on."""
        with (self.directory / "allow-queue.jsonl").open("ab") as file:
            file.write(b'{"id":"torn","action":"add","pubkey":"%s' % (b"e" * size))

    @rule()
    def flush(self) -> None:
        """Tell what waits; in good weather the relay is in step then, without a sync."""
        self.status("allow", "flush")
        if self.relay.weather == "fine":
            assert self.relay.pubkeys == self.wanted

    @rule()
    def sync(self) -> None:
        """Reconcile; in good weather nothing is left to tell."""
        with suppress(PowdoError):  # the weather
            self.status("allow", "sync", "--force")
        if self.relay.weather == "fine":
            assert self.relay.pubkeys == self.wanted
            assert State(self.directory, lambda _: None).waiting() == []

    @invariant()
    def nothing_is_lost(self) -> None:
        """Hold that what differs between the relay and what is wanted waits, and as it has to."""
        waiting = State(self.directory, lambda _: None).waiting()
        newest = {change.pubkey: change.action for change in waiting}
        for pubkey in self.wanted - self.relay.pubkeys:
            assert newest.get(pubkey) == "add"
        for pubkey in self.relay.pubkeys - self.wanted:
            assert newest.get(pubkey) == "remove"

    def teardown(self) -> None:
        """Hold that a flush in good weather brings the relay in step, and that status says so."""
        try:
            self.relay.weather = "fine"
            self.status("allow", "flush")
            assert self.relay.pubkeys == self.wanted
            assert self.status("allow", "status") == 0
        finally:
            self.relay.__exit__()
            for name, value in self.before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
            shutil.rmtree(self.directory)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
