from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.database import Store
from powdo.adapters.keystore import Keystore
from powdo.commands.allow import allow
from powdo.commands.users import users
from powdo.errors import ConfigurationError, KeyRejectedError, PowdoError, RetryLaterError, UsageError
from powdo.nips.bech32 import decode_npub, encode_npub
from tests.allow_relay import SECRET, AdminRelay, call, queue_lines
from tests.dvm import ANA, BEN, DVM

A, B, D = ANA.pubkey, BEN.pubkey, DVM.pubkey
MASTER = bytes(range(32))


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminRelay]:
    """Yield a relay that the environment names."""
    with AdminRelay() as running:
        monkeypatch.setenv("NOSTR_RELAY_ADMIN_URL", running.url)
        monkeypatch.setenv("NOSTR_RELAY_ADMIN_SECRET", SECRET)
        yield running


@pytest.fixture
def state(own_world: Path) -> Path:
    """Return the state directory."""
    return own_world / "state"


def configure(world: Path, text: str) -> None:
    """Write the configuration."""
    (world / "powdo.toml").write_text(text)


def keep(world: Path, name: str) -> str:
    """Take a key of *name* into custody and return its pubkey."""
    record = Keystore(world / "data" / "keystore.json").create(name, MASTER)
    return decode_npub(record["nostr"]["npub"])


def told(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what was written to stdout since the last look."""
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


# --- one key -------------------------------------------------------------------------------------


def test_add_pins_and_tells_and_remove_takes_back(
    relay: AdminRelay, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A key given as npub or hex is let in and pinned; removed it is neither; success is silent."""
    call(allow, "add", encode_npub(A), B, A)
    assert relay.pubkeys == {A, B}
    assert json.loads((state / "allow-pins.json").read_bytes()) == {"pubkeys": sorted([A, B])}
    call(allow, "remove", encode_npub(A))
    assert relay.pubkeys == {B}
    assert json.loads((state / "allow-pins.json").read_bytes()) == {"pubkeys": [B]}
    assert queue_lines(state) == []
    assert capfd.readouterr() == ("", "")


def test_an_absent_relay_is_told_later(
    relay: AdminRelay, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key is pinned and waits; status 75 and a hint say so; `flush` tells it whatever its time."""
    relay.weather = "gone"
    run = call(allow, "add", encode_npub(A))
    assert run.console.status == 75
    error = capfd.readouterr().err
    assert "the relay does not know yet" in error
    assert "powdo allow flush" in error
    (line,) = queue_lines(state)
    assert (line["action"], line["pubkey"], line["attempts"]) == ("add", A, 1)
    assert call(allow, "add", encode_npub(B), "-q").console.status == 75
    assert capfd.readouterr() == ("", "")
    relay.weather = "fine"
    assert call(allow, "flush").console.status == 0
    assert (relay.pubkeys, queue_lines(state)) == ({A, B}, [])


def test_a_wrong_secret_keeps_what_waits(
    relay: AdminRelay, state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a wrong secret, or none, the change waits and the status is 77."""
    monkeypatch.setenv("NOSTR_RELAY_ADMIN_SECRET", "wrong")
    assert call(allow, "add", encode_npub(A)).console.status == 77
    assert "rejects the admin secret" in capfd.readouterr().err
    from powdo.settings import environment

    monkeypatch.setattr(environment, "_secrets", {})
    assert call(allow, "add", encode_npub(B)).console.status == 77
    assert "no secret of the relay's admin API" in capfd.readouterr().err
    assert [line["pubkey"] for line in queue_lines(state)] == [A, B]


def test_the_secret_comes_from_the_usual_places(
    relay: AdminRelay, own_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, a command, a credential and a variable that names a file all bring the secret."""
    monkeypatch.delenv("NOSTR_RELAY_ADMIN_SECRET")
    file = tmp_path / "relay-admin-secret"
    file.touch(0o600)
    file.write_text(f"{SECRET}\n")
    for number, (text, variable) in enumerate(
        [
            (f'secret_file = "{file}"', None),
            (f'secret_command = "cat {file}"', None),
            ("", ("NOSTR_RELAY_ADMIN_SECRET_FILE", str(file))),
            ("", ("CREDENTIALS_DIRECTORY", str(tmp_path))),
        ]
    ):
        configure(own_world, f"[allow]\n{text}\n")
        with monkeypatch.context() as patch:
            if variable is not None:
                patch.setenv(*variable)
            call(allow, "sync")
        assert len(relay.asked) == 2 * (number + 1)
    file.chmod(0o640)
    configure(own_world, f'[allow]\nsecret_file = "{file}"\n')
    with pytest.raises(KeyRejectedError, match="others can read"):
        call(allow, "sync")


@pytest.mark.parametrize("words", [("add", "x"), ("add", A[:-1]), ("add", A.upper()), ("remove", "npub1x")])
def test_what_is_no_key_is_refused(relay: AdminRelay, state: Path, words: tuple[str, ...]) -> None:
    """A mistyped key changes nothing, the others of its call neither."""
    with pytest.raises(UsageError):
        call(allow, words[0], B, words[1])
    assert (relay.asked, state.exists()) == ([], False)


def test_an_nsec_is_not_echoed(relay: AdminRelay) -> None:
    """Who gives a secret key by mistake does not see it again."""
    nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
    with pytest.raises(UsageError) as caught:
        call(allow, "add", nsec)
    assert nsec not in f"{caught.value.message} {caught.value.hint}"


def test_a_dry_run_writes_and_changes_nothing(
    relay: AdminRelay, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With -n what would be asked is written, and no file is made."""
    call(allow, "add", A, "-n")
    call(allow, "remove", B, "--dry-run")
    assert told(capfd) == [
        {"action": "add", "npub": encode_npub(A)},
        {"action": "remove", "npub": encode_npub(B)},
    ]
    assert (relay.asked, state.exists()) == ([], False)


def test_what_is_wanted_for_another_reason_is_not_removed(
    relay: AdminRelay, own_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A key of a worker, in custody or of the DVM is refused with the reason, and stays pinned too."""
    configure(own_world, '[identity]\nuser = "dvm"\n[dvm]\n')
    dvm, carla = keep(own_world, "dvm"), keep(own_world, "carla")
    call(users, "add", B, "--name", "ana", "--access", A)
    call(allow, "add", A)
    for pubkey, reason in ((A, "worker ana"), (carla, "custody carla"), (dvm, "dvm")):
        with pytest.raises(UsageError, match=f"is wanted still: {reason}$"):
            call(allow, "remove", D, pubkey)
    call(users, "remove", "ana")
    assert f"'{encode_npub(A)}' stays on the relay's list: pinned" in capfd.readouterr().err
    assert relay.pubkeys == {A}
    call(allow, "remove", A)
    assert relay.pubkeys == set()


def test_pinning_an_identity_is_told(relay: AdminRelay, capfd: pytest.CaptureFixture[str]) -> None:
    """A worker's identity can be pinned, with a warning that it becomes known."""
    call(users, "add", A, "--name", "ana")
    call(allow, "add", A)
    assert "is a worker's identity" in capfd.readouterr().err
    assert relay.pubkeys == {A}


# --- the whole list ------------------------------------------------------------------------------


def test_sync_makes_the_union(relay: AdminRelay, own_world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Workers' access keys, the DVM's key, keys in custody and pins are let in, others and identities not."""
    configure(own_world, '[identity]\nuser = "dvm"\n[dvm]\n')
    dvm, carla = keep(own_world, "dvm"), keep(own_world, "carla")
    relay.weather = "gone"
    call(users, "add", ANA.pubkey, "--name", "ana", "--access", B)
    call(allow, "add", D)
    relay.weather = "fine"
    relay.allowlist.add("f" * 64)
    capfd.readouterr()
    call(allow, "sync", "-n")
    assert told(capfd) == [{"type": "synced", "v": 1, "added": 4, "removed": 1, "total": 4}]
    assert relay.pubkeys == {"f" * 64}
    call(allow, "sync")
    assert told(capfd) == [{"type": "synced", "v": 1, "added": 4, "removed": 1, "total": 4}]
    assert relay.pubkeys == {dvm, carla, B, D}
    assert queue_lines(own_world / "state") == []
    call(users, "remove", "ana")
    call(allow, "sync")
    assert told(capfd) == [{"type": "synced", "v": 1, "added": 0, "removed": 0, "total": 3}]


def test_a_workers_machine_keeps_its_identity_to_itself(
    relay: AdminRelay, own_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the two keys in a worker's custody only the access key is ever sent, and no database is made."""
    configure(own_world, '[identity]\nuser = "ana"\naccess_user = "ana-access"\n[worker]\n')
    keep(own_world, "ana")
    access = keep(own_world, "ana-access")
    call(allow, "sync")
    assert relay.pubkeys == {access}
    configure(own_world, '[identity]\nuser = "ana"\n[worker]\n')
    call(allow, "sync")
    assert relay.pubkeys == {access}
    assert not (own_world / "state" / "dvm.sqlite").exists()


def test_reading_makes_no_database(relay: AdminRelay, own_world: Path) -> None:
    """Neither sync nor status nor list makes a database, or tables in one that is empty."""
    empty = own_world / "empty.sqlite"
    empty.touch(0o600)
    for text in ("[dvm]\n", f'[dvm]\ndatabase = "sqlite:///{empty}"\n'):
        configure(own_world, text)
        for words in ("sync", "list", "status"):
            call(allow, words)
    assert not (own_world / "state" / "dvm.sqlite").exists()
    assert b"worker" not in empty.read_bytes()


def test_a_list_is_not_emptied_unasked(relay: AdminRelay, capfd: pytest.CaptureFixture[str]) -> None:
    """Where nobody is wanted, or the relay's list cannot be read, only --force sends an empty list."""
    call(allow, "sync")  # both are empty
    relay.allowlist.add(A)
    with pytest.raises(UsageError, match="nobody is wanted here"):
        call(allow, "sync")
    relay.weather = "broken"
    with pytest.raises(RetryLaterError):
        call(allow, "sync")
    relay.weather = "fine"
    assert relay.pubkeys == {A}
    assert relay.asked.count("POST /admin/allow/sync") == 1
    call(allow, "sync", "--force")
    assert relay.pubkeys == set()
    assert told(capfd)[-1] == {"type": "synced", "v": 1, "added": 0, "removed": 1, "total": 0}


@pytest.mark.parametrize("what", ["keystore", "database", "pins"])
def test_what_cannot_be_read_is_never_sent_in_part(
    relay: AdminRelay, own_world: Path, state: Path, what: str
) -> None:
    """A damaged keystore, database or file of pins stops a sync before the relay hears of it."""
    call(allow, "add", A)
    path = {
        "keystore": own_world / "data" / "keystore.json",
        "database": state / "dvm.sqlite",
        "pins": state / "allow-pins.json",
    }[what]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"damaged" * 1000)
    with pytest.raises(ConfigurationError):
        call(allow, "sync", "--force")
    assert relay.pubkeys == {A}


def test_follow_takes_no_force_and_no_dry_run(relay: AdminRelay) -> None:
    """--follow excludes what makes no sense with it."""
    for flag in ("-n", "--force"):
        with pytest.raises(UsageError, match="--follow"):
            call(allow, "sync", "--follow", flag)


# --- looks ---------------------------------------------------------------------------------------


def test_list_says_why(relay: AdminRelay, own_world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each key is shown with all reasons, and one without a reason as unknown."""
    configure(own_world, '[identity]\nuser = "dvm"\n[dvm]\n')
    dvm = keep(own_world, "dvm")
    call(users, "add", D, "--name", "ana", "--access", A)
    call(allow, "add", A)
    call(allow, "sync")
    relay.allowlist.add(B)
    capfd.readouterr()
    call(allow, "list", "--json")
    assert {row["npub"]: row["why"] for row in told(capfd)} == {
        encode_npub(A): ["worker ana", "pinned"],
        encode_npub(B): ["unknown"],
        encode_npub(dvm): ["dvm"],
    }
    call(allow, "list", "--no-headers")
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 3
    assert f"{encode_npub(A)}  worker ana, pinned" in lines


def test_status_shows_drift_and_what_waits(
    relay: AdminRelay, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In step there is no row; else one a key, with since when it waits, how often it was tried, and why."""
    call(allow, "add", A)
    assert call(allow, "status", "--json").console.status == 0
    assert told(capfd) == []
    relay.allowlist.remove(A)
    relay.allowlist.add(B)
    relay.weather = "broken"
    call(allow, "add", D)
    relay.weather = "fine"
    capfd.readouterr()
    run = call(allow, "status", "--json")
    assert run.console.status == 75
    out, err = capfd.readouterr()
    rows = {row.pop("npub"): row for row in map(json.loads, out.splitlines())}
    quiet = dict.fromkeys(("waiting", "since", "attempts", "next", "error"))
    assert rows[encode_npub(A)] == {"state": "missing", "why": ["pinned"]} | quiet
    assert rows[encode_npub(B)] == {"state": "surplus", "why": []} | quiet
    waiting = rows[encode_npub(D)]
    assert (waiting["state"], waiting["waiting"], waiting["attempts"]) == ("missing", "add", 1)
    assert waiting["error"].endswith("gave status 500")
    assert abs(datetime.fromisoformat(waiting["since"]).timestamp() - datetime.now(UTC).timestamp()) < 60
    assert waiting["since"] < waiting["next"]
    assert "not in step: 2 missing, 1 surplus, 1 waiting" in err
    call(allow, "status")
    assert encode_npub(B) in capfd.readouterr().out


def test_status_without_the_relay_shows_what_waits(
    relay: AdminRelay, capfd: pytest.CaptureFixture[str]
) -> None:
    """While the relay is away the queue is shown all the same, and the status is 75."""
    relay.weather = "gone"
    call(allow, "add", A)
    capfd.readouterr()
    assert call(allow, "status", "--json").console.status == 75
    (row,) = told(capfd)
    assert (row["npub"], row["state"], row["waiting"]) == (encode_npub(A), "unknown", "add")


# --- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("add", A), ("remove", A), ("list",), ("sync",), ("sync", "--follow"), ("flush",), ("status",)]
)
@pytest.mark.parametrize("off", [True, False])
def test_without_a_relay_nothing_is_done(
    words: tuple[str, ...], off: bool, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL, or switched off, every command ends with 78 and changes nothing."""
    if off:
        monkeypatch.setenv("NOSTR_RELAY_ADMIN_URL", "https://relay.example")
        monkeypatch.setenv("NOSTR_ENABLED", "no")
    with pytest.raises(ConfigurationError, match="switched off" if off else "no relay to tell"):
        call(allow, *words)
    assert not state.exists()


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("NOSTR_RELAY_ADMIN_URL", "http://relay.example", "is not encrypted"),
        ("NOSTR_RELAY_ADMIN_URL", "wss://relay.example", "not a URL of the right kind"),
        ("NOSTR_ENABLED", "perhaps", "neither true nor false"),
        ("NOSTR_ALLOWLIST_SYNC_INTERVAL", "0", "a second or more"),
        ("NOSTR_ALLOWLIST_SYNC_INTERVAL", "often", "not a duration"),
    ],
)
def test_wrong_variables_are_told(
    variable: str, value: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that cannot be used is named among the problems of the configuration."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(PowdoError) as caught:
        call(allow, "sync")
    assert isinstance(caught.value, ConfigurationError)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{variable}: ")
    assert part in problem


def test_the_environment_beats_the_file(
    relay: AdminRelay, own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """URL, switch and interval of the environment count, and what it leaves out is the file's."""
    from powdo.settings import load

    configure(own_world, '[allow]\nurl = "https://elsewhere.example"\nenabled = false\ninterval = "7m"\n')
    monkeypatch.setenv("NOSTR_ENABLED", "1")
    found = load().allow
    assert (found.url, found.enabled, found.interval) == (relay.url, True, 420)
    monkeypatch.setenv("NOSTR_ALLOWLIST_SYNC_INTERVAL", "90")
    assert load().allow.interval == 90


# --- users ---------------------------------------------------------------------------------------


def test_users_tell_the_relay_of_access_keys(relay: AdminRelay, capfd: pytest.CaptureFixture[str]) -> None:
    """Enrolling lets the access key in and never the identity, removing shuts it out, both silently."""
    call(users, "add", A, "--name", "ana", "--access", B)
    assert relay.pubkeys == {B}
    call(users, "add", "--name", "ana", "--access", D, "-n")
    assert relay.pubkeys == {B}
    call(users, "add", "--name", "ana", "--access", D)
    assert relay.pubkeys == {B, D}
    call(users, "remove", "ana", "-n")
    assert relay.pubkeys == {B, D}
    call(users, "remove", "ana")
    assert relay.pubkeys == set()
    call(users, "add", "--name", "ana")
    assert relay.pubkeys == {B, D}
    assert capfd.readouterr().err == ""


def test_a_worker_is_enrolled_though_the_relay_is_away(
    relay: AdminRelay, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The database has the worker, the queue the key, status 75 and a hint say what comes next."""
    relay.weather = "gone"
    assert call(users, "add", A, "--name", "ana", "--access", B).console.status == 75
    assert "powdo allow sync" in capfd.readouterr().err
    store = Store(f"sqlite:///{state / 'dvm.sqlite'}")
    assert [worker.name for worker in store.workers()] == ["ana"]
    store.close()
    assert call(users, "remove", "ana").console.status == 75
    assert [line["action"] for line in queue_lines(state)] == ["remove"]
    relay.allowlist.add(B)  # as if the first had come through after all
    relay.weather = "fine"
    call(allow, "flush")
    assert relay.pubkeys == set()


def test_users_without_a_relay_queue_nothing(
    state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where no relay is named, which a line tells, or telling is off, in silence, nothing is queued."""
    call(users, "add", A, "--name", "ana", "--access", B)
    assert "no relay was told to let 'ana' in" in capfd.readouterr().err
    monkeypatch.setenv("NOSTR_RELAY_ADMIN_URL", "https://relay.example")
    monkeypatch.setenv("NOSTR_ENABLED", "false")
    call(users, "remove", "ana")
    assert capfd.readouterr() == ("", "")
    assert not (state / "allow-queue.jsonl").exists()
