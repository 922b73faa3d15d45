"""`powdo doctor` against real servers: what it finds, what it says to do, and that it leaves nothing."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from allow_relay import SECRET, AdminRelay
from relay_helpers import relay_thread

from powdo.checkup.servers import clock
from powdo.nips.bech32 import decode_npub
from powdo.servers.relay.policy import Policy
from tests import activitywatch_double, blossom_server
from tests.capture_helpers import unused_url
from tests.kimai_double import Double

Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Side:
    """One side's folder, and powdo run in it."""

    world: Path
    powdo: Any

    def new(self, *names: str) -> list[str]:
        """Make keys and return their pubkeys."""
        return [decode_npub(npub) for npub in self.powdo("keys", "new", *names).stdout.decode().split()]

    def configure(self, text: str) -> None:
        """Write the configuration."""
        path = self.world / "powdo.toml"
        path.write_text(text)
        path.chmod(0o600)

    def doctor(self, status: int) -> Rows:
        """Return the rows by part of a run that ends with *status*."""
        done = self.powdo("doctor", "--json", "--timeout", "5")
        assert done.returncode == status, done.stdout.decode() + done.stderr.decode()
        rows: Rows = {}
        for line in done.stdout.splitlines():
            row = json.loads(line)
            rows.setdefault(row["part"], []).append(row)
        return rows


@pytest.fixture
def side(own_world: Path, powdo: Any, monkeypatch: pytest.MonkeyPatch) -> Side:
    """Return a side without a display, its master key in the environment."""
    monkeypatch.setenv("NSEC_MASTER_KEY", "0" * 63 + "1")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE"):
        monkeypatch.delenv(name, raising=False)
    return Side(own_world, powdo)


def _worker(relay: str, blossom: str, activitywatch: str) -> str:
    return (
        '[identity]\nuser = "ana"\naccess_user = "ana-access"\n'
        f'[worker]\ndvm = "{"ab" * 32}"\nrelays = ["{relay}"]\nblossom = ["{blossom}"]\n'
        f'[capture]\nactivitywatch = "{activitywatch}"\nscreenshots = false\n'
    )


def _states(rows: Rows) -> dict[str, list[str]]:
    return {part: [row["state"] for row in found] for part, found in rows.items()}


def test_a_worker_whose_parts_all_work(side: Side, tmp_path: Path) -> None:
    """Every part is tried against the real thing; neither relay nor Blossom server keeps what was tried."""
    _, access = side.new("ana", "ana-access")
    with (
        relay_thread(tmp_path / "relay", Policy(allowed={access})) as relay,
        blossom_server.running(tmp_path / "blossom", allow=(access,)) as blossom,
        activitywatch_double.Double() as watching,
    ):
        watching.buckets["window"] = ("currentwindow", [(0, 1, {"app": "x"})])
        side.configure(_worker(relay, blossom.url, watching.url))
        rows = side.doctor(0)
        assert blossom.files() == []
    assert {state for states in _states(rows).values() for state in states} <= {"ok", "skipped", "warning"}
    assert _states(rows)["relay"] == ["ok", "ok"]
    assert _states(rows)["blossom"] == ["ok"]
    assert _states(rows)["clock"] == ["ok"]
    assert "ana-access" in rows["relay"][0]["detail"]
    assert rows["screen"][0]["state"] == "skipped"
    assert not list((tmp_path / "relay").glob("*incoming*"))


def test_a_key_that_nobody_lets_in(side: Side, tmp_path: Path) -> None:
    """Relay and Blossom server that do not know the key fail, each with whom to ask."""
    side.new("ana", "ana-access")
    with (
        relay_thread(tmp_path / "relay", Policy(allowed=set())) as relay,
        blossom_server.running(tmp_path / "blossom") as blossom,
    ):
        side.configure(_worker(relay, blossom.url, unused_url()))
        rows = side.doctor(77)
    assert _states(rows)["blossom"] == ["failed"]
    assert "keys show ana-access" in rows["blossom"][0]["fix"]
    assert rows["relay"][-1]["state"] == "failed"
    assert "keys show ana-access" in rows["relay"][-1]["fix"]
    assert rows["activitywatch"][0]["status"] == 75


def test_servers_that_are_away(side: Side) -> None:
    """What cannot be reached is worth a retry; the other parts are tried all the same."""
    side.new("ana", "ana-access")
    side.configure(_worker(unused_url().replace("http", "ws"), unused_url(), unused_url()))
    rows = side.doctor(75)
    for part in ("relay", "blossom", "activitywatch"):
        assert [row["state"] for row in rows[part]] == ["failed"], part
        assert rows[part][0]["fix"], part
    assert rows["outbox"][0]["state"] == "ok"


def test_a_screen_that_is_wanted_and_not_there(side: Side) -> None:
    """A worker who wants screenshots is told when there is no display, and how to do without."""
    side.new("ana", "ana-access")
    side.configure(
        _worker("ws://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1").replace("false", "true")
    )
    (row,) = side.doctor(75)["screen"]
    assert (row["state"], "screenshots = false" in row["fix"]) == ("failed", True)


def test_keys_that_do_not_open(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another master key is told as such, and a directory that others enter with the command that helps."""
    side.new("ana", "ana-access")
    side.configure('[identity]\nuser = "ana"\n')
    (side.world / "data").chmod(0o755)
    monkeypatch.setenv("NSEC_MASTER_KEY", "0" * 63 + "2")
    rows = side.doctor(77)
    assert rows["keys"][0]["state"] == "failed"
    assert "another master key" in rows["keys"][0]["fix"]
    assert rows["data directory"][0]["fix"].startswith("run: chmod 700 ")
    monkeypatch.delenv("NSEC_MASTER_KEY")
    assert "openssl rand" in side.doctor(77)["master key"][0]["fix"]


def test_an_operator(side: Side, tmp_path: Path) -> None:
    """Database, workers, relay as the DVM and Kimai are tried; nobody enrolled is a warning."""
    (dvm,) = side.new("dvm")
    token = side.world / "token"
    token.touch(0o600)
    token.write_text("manager")
    with relay_thread(tmp_path / "relay", Policy(allowed={dvm})) as relay, Double() as kimai:
        kimai.kimai.people()
        side.configure(
            f'[identity]\nuser = "dvm"\n[dvm]\nrelays = ["{relay}"]\nblossom_hosts = ["https://b.example"]\n'
            f'[kimai]\nurl = "{kimai.url}"\ntoken_file = "{token}"\n'
        )
        rows = side.doctor(0)
        assert rows["workers"][0]["fix"].startswith("powdo users add")
        side.powdo("users", "add", dvm, "--name", "ana")
        rows = side.doctor(0)
        checked = side.powdo("kimai-sync", "--check", "--json").stdout.splitlines()
        assert {call.method for call in kimai.calls} == {"GET"}
        kimai.kimai.tracking_mode = "punch"
        token.write_text("alice")
        refused = side.doctor(69)["kimai"]
        token.write_text("nobody")
        assert side.doctor(77)["kimai"][0]["state"] == "failed"
    assert [row["detail"] for row in rows["kimai"]] == [
        f"{found['what']}: {found['value']}" for found in map(json.loads, checked)
    ]
    assert any("manager" in row["detail"] for row in rows["kimai"])
    (mode,) = (row for row in refused if row["state"] == "failed")
    assert (mode["detail"], mode["status"]) == ("tracking mode: punch", 69)
    assert "set it to 'default' in Kimai" in mode["fix"]
    assert _states(rows)["relay"] == ["ok", "ok"]
    assert "ana has no access key" in rows["workers"][1]["detail"]


@pytest.fixture
def teller(side: Side, tmp_path: Path) -> Iterator[tuple[Side, AdminRelay, Path]]:
    """Return an operator's side without Kimai, the relay that it tells, and the file of the secret."""
    (dvm,) = side.new("dvm")
    secret = side.world / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    with relay_thread(tmp_path / "relay", Policy(allowed={dvm})) as relay, AdminRelay() as admin:
        side.configure(
            f'[identity]\nuser = "dvm"\n[dvm]\nrelays = ["{relay}"]\nblossom_hosts = ["https://b.example"]\n'
            f'[allow]\nurl = "{admin.url}"\nsecret_file = "{secret}"\n'
        )
        yield side, admin, secret


def _allow(side: Side, admin: AdminRelay, status: int) -> list[tuple[str, str, str | None]]:
    """Return the rows about [allow] of a run that asks for nothing but the list, and changes no file."""
    files = {path: path.read_bytes() for path in (side.world / "state").glob("allow*")}
    admin.asked.clear()
    rows = side.doctor(status)["allow"]
    assert set(admin.asked) <= {"GET /admin/allow"}
    assert {path: path.read_bytes() for path in (side.world / "state").glob("allow*")} == files
    return [(row["state"], row["detail"], row["fix"]) for row in rows]


def test_a_relay_that_is_told(teller: tuple[Side, AdminRelay, Path]) -> None:
    """One that answers and is in step is one row; who is missing there is a warning."""
    side, admin, _ = teller
    answers = ("ok", f"'{admin.url}' takes the secret, and lets 0 in", None)
    found = _allow(side, admin, 0)
    assert found[0] == answers
    assert found[1][:2] == ("warning", "its list is not in step: 1 missing, 0 surplus")
    assert side.powdo("allow", "sync").returncode == 0
    assert _allow(side, admin, 0) == [("ok", f"'{admin.url}' takes the secret, and lets 1 in", None)]


def test_a_relay_that_cannot_be_told(teller: tuple[Side, AdminRelay, Path]) -> None:
    """Away, silent or with another secret it fails with what to do, and what it was not told yet is a row."""
    side, admin, secret = teller
    side.powdo("allow", "sync")
    admin.weather = "gone"
    for state, status in (("gone", 75), (500, 75), (404, 76), (401, 77), (403, 77)):
        admin.weather = state
        ((found, _, fix),) = _allow(side, admin, status)
        assert (found, bool(fix)) == ("failed", True), state
    assert side.powdo("allow", "add", "ab" * 32).returncode == 77
    waits, fails = _allow(side, admin, 77)
    assert waits[0] == "warning"
    assert waits[1].startswith("1 change waits to be told to the relay, since 20")
    assert "lets nobody administer it from here" in waits[1]
    assert waits[2] == "run powdo allow flush"
    assert "--admin-ip" in str(fails[2])
    secret.unlink()
    assert _allow(side, admin, 77)[1][0] == "failed"
    secret.touch(0o600)
    secret.write_text("another")
    admin.weather = "fine"
    assert "rejects the admin secret" in _allow(side, admin, 77)[1][1]
    with (side.world / "state" / "allow-queue.jsonl").open("ab") as queue:
        queue.write(b"{cut off\n")
    assert "1 damaged line in" in _allow(side, admin, 77)[0][1]


def test_a_relay_that_nobody_is_to_tell(
    teller: tuple[Side, AdminRelay, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a url, or switched off, the part is left out and the relay is not asked."""
    side, admin, _ = teller
    monkeypatch.setenv("NOSTR_ENABLED", "false")
    assert [row[0] for row in _allow(side, admin, 0)] == ["skipped"]
    monkeypatch.delenv("NOSTR_ENABLED")
    text = (side.world / "powdo.toml").read_text()
    side.configure(text.partition("[allow]")[0])
    assert _allow(side, admin, 0) == [
        ("skipped", "no url in [allow]", "set it, or keep the relay's list by hand")
    ]
    assert admin.asked == []


def test_a_public_server(side: Side, tmp_path: Path) -> None:
    """Directories, allowlist and both servers on this machine are looked at; one that does not run fails."""
    with relay_thread(tmp_path / "relay", Policy(allowed=set())) as relay:
        allowlist = tmp_path / "allowlist.json"
        side.configure(
            f'[relay]\nlisten = "{relay.removeprefix("ws://")}"\ndata = "{tmp_path}/r"\n'
            f'allowlist = "{allowlist}"\n'
            f'[blossom]\nlisten = "{unused_url().removeprefix("http://")}"\ndata = "{tmp_path}/b"\n'
            f'allowlist = "{allowlist}"\nallow = ["{"ab" * 32}"]\n'
        )
        rows = side.doctor(75)
    assert [row["state"] for row in rows["relay"]] == ["ok"]
    assert (rows["blossom"][0]["state"], rows["blossom"][0]["fix"]) == (
        "failed",
        "start it: powdo blossom serve",
    )
    assert rows["blossom"][0]["detail"].startswith("nothing answers on 127.0.0.1:")
    assert rows["allowlist"][0]["detail"].startswith("1 key with ")


@contextmanager
def _telling(document: dict[str, Any], clock_off: timedelta) -> Iterator[str]:
    """Yield a server that tells *document* of itself (NIP-11) by a clock that is off, and is no relay."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) + clock_off, usegmt=True)

        def do_GET(self) -> None:
            body = json.dumps(document).encode()
            self.send_response(200 if "Upgrade" not in self.headers else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_relay_whose_limits_do_not_fit(side: Side) -> None:
    """Limits that wraps would break are told, and so is a clock that is off."""
    side.new("ana", "ana-access")
    limits = {"max_message_length": 16384, "created_at_lower_limit": 3600, "min_pow_difficulty": 20}
    with _telling({"limitation": limits}, timedelta(minutes=5)) as url:
        side.configure(_worker(url, "http://127.0.0.1:1", "http://127.0.0.1:1"))
        rows = side.doctor(76)
    assert [(row["state"], row["fix"]) for row in rows["relay"][:3]] == [
        ("warning", "have max_message raised to 64KiB"),
        ("failed", "have its created_at_lower_limit raised to 172800"),
        ("warning", "be on its allowlist"),
    ]
    assert (rows["clock"][0]["state"], rows["clock"][0]["fix"]) == ("warning", "set the clock by NTP")


def test_clocks() -> None:
    """Half a minute is nothing, ten minutes are what relays refuse."""
    now = datetime.now(UTC)
    for off, state in ((0, "ok"), (-25, "ok"), (60, "warning"), (-3600, "failed")):
        (found,) = clock({"wss://relay.example": now + timedelta(seconds=off)})
        assert found.state == state
    assert found.detail.startswith("3600 s ahead of")


def test_a_machine_that_is_not_set_up(side: Side) -> None:
    """Without a configuration the machine is looked at, in a table for people, which says to set it up."""
    done = side.powdo("doctor")
    assert done.returncode == 0
    (row,) = (line for line in done.stdout.decode().splitlines() if "is empty or not there" in line)
    assert row.split()[1] == "warning" and row.endswith("run powdo init")
    assert b"needs none" in done.stdout
