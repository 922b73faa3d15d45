"""The allowlist as a state machine: whatever is asked for, in whatever order, by whom and across restarts."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from powdo.nips.bech32 import encode_npub
from powdo.servers.allowlist import Allowlist
from tests.admin_client import AdminClient, pubkeys
from tests.admin_server import admin_api

*KEYS, FIXED = pubkeys(6)
some_key = st.sampled_from([*KEYS, FIXED])
some_keys = st.lists(some_key, max_size=8)
NONSENSE = ["", KEYS[0].upper(), "0" * 64, None, 7]


class Lists(RuleBasedStateMachine):
    """A set as the model; beside it a server, which restarts, and another process that shares its file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "allowlist.json"
        self.listed: set[str] = set()
        self.running = ExitStack()

    @initialize()
    def start(self) -> None:
        """Start the server."""
        url = self.running.enter_context(admin_api(self.path, always=[FIXED]))
        self.admin = AdminClient(url)
        self.other = Allowlist(self.path)

    @rule()
    def restart(self) -> None:
        """Stop the server and start it again."""
        self.running.close()
        self.start()

    @rule(key=some_key, as_npub=st.booleans())
    def add(self, key: str, as_npub: bool) -> None:
        """Let a key in."""
        new = key not in self.listed | {FIXED}
        assert self.admin.add(encode_npub(key) if as_npub else key) == (201 if new else 200)
        self.listed.add(key)

    @rule(key=some_key)
    def remove(self, key: str) -> None:
        """Shut a key out; what the settings let in stays, in the file too."""
        expected = 409 if key == FIXED else 200 if key in self.listed else 404
        assert self.admin.remove(key) == expected
        if key != FIXED:
            self.listed.discard(key)

    @rule(keys=some_keys)
    def sync(self, keys: list[str]) -> None:
        """Replace the list."""
        before, after = self.listed | {FIXED}, {*keys, FIXED}
        assert self.admin.sync(keys).value == {
            "added": len(after - before),
            "removed": len(before - after),
            "total": len(after),
        }
        self.listed = set(keys)

    @rule(keys=some_keys, nonsense=st.sampled_from(NONSENSE))
    def sync_nonsense(self, keys: list[str], nonsense: object) -> None:
        """Ask for a list with one bad key in it."""
        assert self.admin.sync([*keys, nonsense]).status == 400

    @rule(key=st.sampled_from(KEYS))
    def change_elsewhere(self, key: str) -> None:
        """Let another process turn a key over."""
        if key in self.listed:
            assert self.other.remove(key)
        else:
            assert self.other.add(key)
        self.listed ^= {key}

    @invariant()
    def all_agree(self) -> None:
        """Server, file and the other process hold what the model holds."""
        assert self.admin.listed() == sorted(self.listed | {FIXED})
        assert self.other.pubkeys() == self.listed
        if self.path.exists():
            assert json.loads(self.path.read_bytes()) == {"pubkeys": sorted(self.listed)}
        else:
            assert not self.listed

    def teardown(self) -> None:
        """Stop the server."""
        self.running.close()
        shutil.rmtree(self.folder)


Lists.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLists = Lists.TestCase
