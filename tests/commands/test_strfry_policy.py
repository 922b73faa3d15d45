"""`powdo relay policy` as strfry runs it: a process that answers lines with lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay_helpers import mined_wrap, new_key, signed, wrap_for

from powdo.nips.bech32 import encode_npub
from powdo.nips.event import Event
from tests.conftest import ROOT

MEMBER, OTHER, STRANGER = new_key(), new_key(), new_key()
LONGEST_ANSWER = 8192
OUTSIDE = "restricted: not on the allowlist"


def request(event: Event | dict[str, Any], **fields: Any) -> bytes:
    """Return a request as strfry writes it: its JSON library sorts the keys."""
    obj = event.to_json() if isinstance(event, Event) else event
    whole = {
        "event": obj,
        "receivedAt": int(time.time()),
        "sourceInfo": "203.0.113.7",
        "sourceType": "IP4",
        "type": "new",
    } | fields
    return json.dumps(whole, separators=(",", ":"), sort_keys=True).encode() + b"\n"


class Plugin:
    """A running plugin, asked one line at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def tell(self, line: bytes) -> None:
        """Write one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def ask(self, line: bytes) -> dict[str, str]:
        """Return the answer to one line."""
        self.tell(line)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert len(said) < LONGEST_ANSWER
        answer: dict[str, str] = json.loads(said)
        return answer

    def verdict(self, event: Event | dict[str, Any], **fields: Any) -> str:
        """Return `accept`, or the message of a refusal; the answer is of the right shape."""
        answer = self.ask(request(event, **fields))
        assert answer["id"] == (event.id if isinstance(event, Event) else event["id"])
        if answer["action"] == "accept":
            assert set(answer) == {"id", "action"}
            return "accept"
        assert answer["action"] == "reject"
        return answer["msg"]


@pytest.fixture
def start(own_world: Path) -> Iterator[Callable[..., Plugin]]:
    """Return a function that starts `powdo relay policy` with more arguments."""
    started: list[Plugin] = []

    def begin(*arguments: str) -> Plugin:
        process = subprocess.Popen(
            [sys.executable, "-m", "powdo", "relay", "policy", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(Plugin(process))
        return started[-1]

    yield begin
    for plugin in started:
        plugin.process.kill()
        plugin.process.communicate()


@pytest.fixture
def allowlist(own_world: Path) -> Path:
    """Return the path of a list that MEMBER is on."""
    path = own_world / "allowlist.json"
    write_list(path, MEMBER.pubkey)
    return path


def write_list(path: Path, *pubkeys: str) -> None:
    """Write an allowlist as the admin API does."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"pubkeys": pubkeys}))
    new.rename(path)


def ended(plugin: Plugin) -> tuple[int, str]:
    """Return the status and what was said on stderr, after the end of the input."""
    _, stderr = plugin.process.communicate(timeout=20)
    return plugin.process.returncode, stderr.decode()


@contextmanager
def within(seconds: float) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether there is time left."""
    deadline = time.monotonic() + seconds
    yield lambda: time.monotonic() < deadline


# --- decisions ---


def test_the_allowlist_decides_and_wraps_come_in_by_their_recipient(
    start: Callable[..., Plugin], allowlist: Path
) -> None:
    """Authors on the list and wraps to them are accepted, all else is refused with a reason."""
    plugin = start("--allowlist", str(allowlist))
    assert plugin.verdict(signed(MEMBER)) == "accept"
    assert plugin.verdict(wrap_for(MEMBER.pubkey)) == "accept"
    assert plugin.verdict(wrap_for(MEMBER.pubkey, kind=21059)) == "accept"
    assert plugin.verdict(signed(STRANGER)) == OUTSIDE
    assert plugin.verdict(wrap_for(STRANGER.pubkey)) == OUTSIDE
    assert plugin.verdict(signed(STRANGER, 1, (("p", MEMBER.pubkey),))) == OUTSIDE
    two = signed(STRANGER, 1059, (("p", MEMBER.pubkey), ("p", OTHER.pubkey)))
    assert plugin.verdict(two) == "invalid: a gift wrap names exactly one recipient"
    protected = signed(STRANGER, 1, (("-",),))
    assert plugin.verdict(protected, authed=STRANGER.pubkey) == OUTSIDE
    assert plugin.verdict(signed(MEMBER, 1, (("-",),)), authed=MEMBER.pubkey) == "accept"
    old = signed(MEMBER, created_at=int(time.time()) - 4 * 365 * 86400)
    assert plugin.verdict(old) == "invalid: created_at is too long ago"
    assert plugin.verdict(old, receivedAt=old.created_at) == "accept"
    assert ended(plugin) == (0, "")


def test_work_may_be_asked_for(start: Callable[..., Plugin], allowlist: Path) -> None:
    """With --min-pow a wrap needs both a recipient on the list and the bits; --open needs neither."""
    plugin = start("--allowlist", str(allowlist), "--min-pow", "4")
    assert plugin.verdict(wrap_for(MEMBER.pubkey)) == "pow: 4 bits of committed proof of work are needed"
    assert plugin.verdict(mined_wrap(MEMBER.pubkey, 4)) == "accept"
    assert plugin.verdict(mined_wrap(STRANGER.pubkey, 4)) == OUTSIDE
    assert plugin.verdict(signed(MEMBER)) == "accept"
    assert start("--open").verdict(signed(STRANGER)) == "accept"


@pytest.mark.parametrize("source", ["IP6", "Import", "Stream", "Sync", "Stored", "?"])
def test_every_source_is_decided_alike(start: Callable[..., Plugin], allowlist: Path, source: str) -> None:
    """Only clients are told why; and stored gift wraps are not handed on to other relays."""
    plugin = start("--allowlist", str(allowlist))
    said = OUTSIDE if source == "IP6" else ""
    assert plugin.verdict(signed(STRANGER), sourceType=source, sourceInfo="") == said
    assert plugin.verdict(signed(MEMBER), sourceType=source, sourceInfo="wss://r.example") == "accept"
    wrap = plugin.verdict(wrap_for(MEMBER.pubkey), sourceType=source)
    assert wrap == ("" if source in ("Stored", "?") else "accept")


#: What strfry's master (1.1.1-144) has asked for, and what it should be told: notes and wraps of clients, an
#: event of NIP-70, `strfry sync`, `strfry stream`, and a router's pluginUp.
RECORDED = ROOT / "tests" / "data" / "strfry-requests.jsonl"
RECORDED_MEMBER = "1313087e62c0ea6fd30a98006c3f9c3cefe1d60ae72b63c4ed3f5115e9551ac7"
EXPECTED = [
    *(("IP4", OUTSIDE), ("IP4", "accept"), ("IP4", OUTSIDE), ("IP4", "accept"), ("IP4", "accept")),
    *(("Sync", ""), ("Sync", "accept"), ("Stream", "accept"), ("IP4", "accept"), ("IP4", "accept")),
    *(("?", "accept"), ("?", "")),
]


def test_what_strfry_really_asked_is_answered(start: Callable[..., Plugin], allowlist: Path) -> None:
    """Requests recorded from strfry itself get the answers they should, each with its id."""
    write_list(allowlist, RECORDED_MEMBER)
    plugin = start("--allowlist", str(allowlist))
    lines = RECORDED.read_bytes().splitlines(keepends=True)
    said = []
    for line in lines:
        asked, answer = json.loads(line), plugin.ask(line)
        assert answer["id"] == asked["event"]["id"]
        said.append((asked["sourceType"], answer["msg"] if answer["action"] == "reject" else "accept"))
    assert said == EXPECTED
    assert ended(plugin) == (0, "")


# --- what is no request ---


def test_garbage_is_refused_by_its_id_or_passed_over(start: Callable[..., Plugin], allowlist: Path) -> None:
    """What names an id is answered with it, the rest told on stderr, and the next request is answered."""
    plugin = start("--allowlist", str(allowlist))
    right = signed(MEMBER).to_json()
    wrong: list[tuple[dict[str, Any], str]] = [
        (right | {"id": str(right["id"]).upper()}, "invalid: field 'id' must be lower-case hex"),
        (right | {"kind": 70000}, "invalid: field 'kind' must be an integer from 0 to 65535"),
        (right | {"tags": [[1]]}, "invalid: a tag must be an array of one or more strings"),
        ({"id": "x" * 64}, "invalid: "),
        ({"id": '"\\ä' * 80}, "invalid: "),
    ]
    for event, message in wrong:
        assert plugin.verdict(event).startswith(message)
    for line in (
        b"\n",
        b"garbage\n",
        b"[]\n",
        b'{"type":"new"}\n',
        b'{"type":"new","event":[]}\n',
        request({"id": "x" * 9000}),
        request({"id": ""}),
        request({"id": "\ud800"}),
        b"\xff\xfe\n",
        b'{"type":"new","event":{"id":"' + b"a" * (1 << 20) + b'"}}\n',
        b"[" * 100_000 + b"\n",
        request(signed(MEMBER), type="lookup"),
    ):
        plugin.tell(line)
        assert plugin.verdict(signed(MEMBER)) == "accept"
    plugin.tell(b'{"type":"new","ev')
    status, said = ended(plugin)
    assert status == 0
    lines = said.splitlines()
    assert all(line.startswith("powdo relay policy: warning: line ") for line in lines)
    assert len(lines) == 11  # nothing for the empty line and the unknown type, one for the piece at the end


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near_events = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=64).filter(str.isprintable) | st.just("0" * 64)},
    optional=dict.fromkeys(("pubkey", "created_at", "kind", "tags", "content", "sig", "extra"), json_values),
)
near_requests = st.fixed_dictionaries(
    {"event": near_events},
    optional=dict.fromkeys(("receivedAt", "sourceType", "sourceInfo", "authed", "more"), json_values),
)


def test_any_request_with_an_id_is_answered(start: Callable[..., Plugin], allowlist: Path) -> None:
    """Whatever else a request holds, its answer is one line with its id, and short enough for strfry."""
    plugin = start("--allowlist", str(allowlist))

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(near_requests)
    def check(asked: dict[str, Any]) -> None:
        line = json.dumps({"type": "new", **asked}).encode() + b"\n"
        answer = plugin.ask(line)
        assert answer["id"] == asked["event"]["id"]
        assert answer["action"] == "reject"

    check()
    assert ended(plugin) == (0, "")


# --- what changes while it runs ---


def test_the_allowlist_is_read_again(start: Callable[..., Plugin], allowlist: Path) -> None:
    """Who is added is let in within moments; a broken list leaves the last good one in force, and is told."""
    plugin = start("--allowlist", str(allowlist))
    assert plugin.verdict(signed(OTHER)) == OUTSIDE
    write_list(allowlist, MEMBER.pubkey, OTHER.pubkey)
    with within(5) as left:
        while plugin.verdict(signed(OTHER)) != "accept":
            assert left()
            time.sleep(0.05)
    allowlist.write_text("{broken")
    time.sleep(1.1)
    assert plugin.verdict(signed(OTHER)) == "accept"
    status, said = ended(plugin)
    assert status == 0
    assert said.count("the last good list stays in force") == 1


def test_the_configuration_is_read_again(
    start: Callable[..., Plugin], own_world: Path, allowlist: Path
) -> None:
    """[relay] counts where no flag is given, and anew when it changes; a broken file changes nothing."""
    config = own_world / "powdo.toml"
    config.write_text(f'[relay]\nallowlist = "{allowlist}"\n')
    plugin = start()
    assert plugin.verdict(signed(MEMBER)) == "accept"
    assert plugin.verdict(signed(OTHER)) == OUTSIDE
    config.write_text(f'[relay]\nallowlist = "{allowlist}"\nallow = ["{encode_npub(OTHER.pubkey)}"]\n')
    with within(5) as left:
        while plugin.verdict(signed(OTHER)) != "accept":
            assert left()
            time.sleep(0.05)
    config.write_text("[relay]\nmin_pow = -1\n")
    time.sleep(1.1)
    assert plugin.verdict(signed(OTHER)) == "accept"
    assert plugin.verdict(signed(MEMBER)) == "accept"
    status, said = ended(plugin)
    assert status == 0
    assert "min_pow" in said
    assert said.count("the last good configuration stays in force") == 1


# --- begin and end ---


def test_without_a_list_it_does_not_begin(start: Callable[..., Plugin], own_world: Path) -> None:
    """Nothing to decide by is a mistake on the command line, and broken configuration ends with 78."""
    status, said = ended(start())
    assert status == 2
    assert "no allowlist" in said
    (own_world / "powdo.toml").write_text("[relay]\nopen = 7\n")
    assert ended(start())[0] == 78


def test_sigterm_ends_it_cleanly(start: Callable[..., Plugin], allowlist: Path) -> None:
    """At SIGTERM, which strfry sends when it reloads, the process dies of it and says nothing."""
    plugin = start("--allowlist", str(allowlist))
    assert plugin.verdict(signed(MEMBER)) == "accept"
    os.kill(plugin.process.pid, signal.SIGTERM)
    assert plugin.process.wait(timeout=10) == -signal.SIGTERM
    assert plugin.process.stderr is not None
    assert plugin.process.stderr.read() == b""
