"""`powdo kimai-sync` with several workers and tokens, and its looks: check, conflicts, reconcile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from powdo.adapters.database import Store
from tests.kimai_double import Double
from tests.worked import add

Run = Callable[..., "CompletedProcess[bytes]"]
_CONFIG = """
[kimai]
url = "{url}"
country = "de"
currency = "EUR"
{kimai}

[[rule]]
name = "website"
editor_project = "website"
customer = "Initech"
project = "Website"
activity = "Development"
description = "Website"
"""
_ADMIN = {"POWDO_KIMAI_TOKEN": "admin"}


@pytest.fixture
def kimai() -> Iterator[Double]:
    """Yield a Kimai that knows what the rule names."""
    with Double() as double:
        double.kimai.people()
        double.kimai.website()
        yield double


def _configure(own_world: Path, kimai: Double, extra: str = "") -> None:
    config = own_world / "powdo.toml"
    config.write_text(_CONFIG.format(url=kimai.url, kimai=extra))
    config.chmod(0o600)


@pytest.fixture
def store(own_world: Path, kimai: Double) -> Iterator[Store]:
    """Yield the operator's database, configured to use that Kimai."""
    _configure(own_world, kimai)
    (own_world / "state").mkdir(mode=0o700)
    made = Store(f"sqlite:///{own_world / 'state' / 'dvm.sqlite'}")
    yield made
    made.close()


def _records(done: CompletedProcess[bytes], status: int = 0) -> list[dict[str, object]]:
    assert done.returncode == status, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- several workers ---------------------------------------------------------------------------------


def test_a_month_of_ten_workers(powdo: Run, store: Store, kimai: Double) -> None:
    """Costs one listing for each worker and week, one request for each change, and five catalogues in all."""
    from tests.kimai_rules import User

    workers = []
    for number in range(10):
        kimai.kimai.users[f"w{number}"] = User(100 + number, f"w{number}")
        workers.append(store.enroll(f"w{number}", pubkeys=[f"{number + 1:064x}"], kimai_user=100 + number))
    day = 24 * 60
    for worker in workers:
        add(
            store,
            worker,
            "code",
            *[(at * day + n * 90, at * day + n * 90 + 60) for at in range(28) for n in (0, 1)],
        )
    period = ("--since", "2026-11-16", "--until", "2026-12-14")
    records = _records(powdo("kimai-sync", *period, env=_ADMIN))
    assert [one["action"] for one in records] == ["created"] * 560
    assert kimai.count("POST", "/api/timesheets") == 560
    assert kimai.count("GET", "/api/timesheets") == 40
    assert len(kimai.calls) == 560 + 40 + 3 + 5  # three to introduce itself; the catalogues, and the new tag
    before = len(kimai.calls)
    add(store, workers[3], "code", (60, 70))
    records = _records(powdo("kimai-sync", *period, env=_ADMIN))
    assert sum(one["action"] == "updated" for one in records) == 1
    assert len(kimai.calls) - before == 1 + 40 + 3 + 4


def test_a_token_for_each_worker(powdo: Run, store: Store, kimai: Double, own_world: Path) -> None:
    """With [[kimai.worker]] each worker's timesheets are sent with their own token, as their own."""
    ana, bea = (store.enroll(name, pubkeys=[key * 32]) for name, key in (("ana", "11"), ("bea", "22")))
    secret = own_world / "bea.token"
    secret.write_text("bob\n")
    secret.chmod(0o600)
    _configure(own_world, kimai, f'[[kimai.worker]]\nname = "bea"\ntoken_file = "{secret}"\n')
    for worker in (ana, bea):
        add(store, worker, "code", (0, 60))
    done = powdo("kimai-sync", "--pending", env={"POWDO_KIMAI_TOKEN": "alice"})
    assert [one["user"] for one in _records(done)] == ["ana", "bea"]
    assert [row.user for row in kimai.kimai.rows.values()] == [4, 5]
    assert b"'ana' has no Kimai user" in done.stderr and b"'bea'" not in done.stderr
    secret.chmod(0o644)
    add(store, bea, "code", (90, 99))
    done = powdo("kimai-sync", "--pending", env={"POWDO_KIMAI_TOKEN": "alice"})
    assert done.returncode == 77 and b"bob" not in done.stderr


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[[kimai.worker]]\ntoken_file = "/x"', "'name' is missing"),
        ('[[kimai.worker]]\nname = "a"\n[[kimai.worker]]\nname = "a"', "'a' has 2 tables"),
        ('[[kimai.worker]]\nname = "a"\ntoken = "x"', "unknown key 'token'"),
        ('worker = "a"', "not a list of tables"),
        ('country = "Germany"', "not a code of 2 letters"),
    ],
)
def test_tables_that_are_wrong(
    powdo: Run, store: Store, kimai: Double, own_world: Path, table: str, words: str
) -> None:
    """A wrong [[kimai.worker]] is told as the rest of the configuration is."""
    config = own_world / "powdo.toml"
    config.write_text(f'[kimai]\nurl = "{kimai.url}"\n{table}\n')
    done = powdo("kimai-sync", "--check", env=_ADMIN)
    assert done.returncode == 78 and words in done.stderr.decode()


def test_what_is_missing_is_created(powdo: Run, store: Store, kimai: Double) -> None:
    """--create makes customer, project and activity, the customer with the codes of [kimai]."""
    for things in (kimai.kimai.customers, kimai.kimai.projects, kimai.kimai.activities):
        things.clear()
    ana = store.enroll("ana", pubkeys=["11" * 32])
    add(store, ana, "code", (0, 60))
    done = powdo("kimai-sync", "--pending", env=_ADMIN)
    assert done.returncode == 69 and b"no customer 'Initech'" in done.stderr and b"--create" in done.stderr
    done = powdo("kimai-sync", "--pending", "--create", "-n", env=_ADMIN)
    assert not kimai.kimai.customers
    assert [one["action"] for one in _records(powdo("kimai-sync", "--pending", "--create", env=_ADMIN))] == [
        "created"
    ]
    [made] = [call.body for call in kimai.calls if (call.method, call.path) == ("POST", "/api/customers")]
    assert made == {
        "name": "Initech", "visible": True, "country": "DE", "currency": "EUR", "timezone": "UTC",
    }  # fmt: skip


# --- reports -----------------------------------------------------------------------------------------


def test_conflicts_show_both_sides(powdo: Run, store: Store, kimai: Double) -> None:
    """--conflicts lists what a person edited or deleted, beside what was computed."""
    ana = store.enroll("ana", pubkeys=["11" * 32])
    add(store, ana, "code", (0, 60), (120, 180), (240, 300))
    assert len(_records(powdo("kimai-sync", "--pending", env=_ADMIN))) == 3
    begin = kimai.kimai.rows[1].begin
    kimai.kimai.edit(1, description="a call", end=begin + timedelta(minutes=45))
    del kimai.kimai.rows[2]
    add(store, ana, "code", (300, 301))
    powdo("kimai-sync", "--pending", env=_ADMIN)
    edited, deleted = _records(powdo("kimai-sync", "--conflicts", "--json", env=_ADMIN))
    assert (edited["reason"], edited["kimai_id"], edited["seconds"]) == ("edited", 1, 3600)
    assert edited["there"] == {
        "begin": "2026-11-16T08:00:00Z", "end": "2026-11-16T08:45:00Z", "customer": "Initech",
        "project": "Website", "activity": "Development", "tags": ["powdo"], "description": "a call",
    }  # fmt: skip
    assert (deleted["reason"], "there" in deleted) == ("deleted", False)
    table = powdo("kimai-sync", "--conflicts", "--since", "2026-11-16", env=_ADMIN).stdout.decode()
    assert "Website / Development: a call" in table and "deleted" in table
    assert powdo("kimai-sync", "--conflicts", "--since", "2026-11-20", env=_ADMIN).stdout == b""


def test_reconcile_looks_at_everything(powdo: Run, store: Store, kimai: Double, own_world: Path) -> None:
    """--reconcile compares days in which nothing is new, with the rules of today, and shows what was."""
    ana = store.enroll("ana", pubkeys=["11" * 32])
    add(store, ana, "code", (0, 60))
    powdo("kimai-sync", "--pending", env=_ADMIN)
    config = own_world / "powdo.toml"
    config.write_text(config.read_text().replace('description = "Website"', 'description = "Pages"'))
    assert _records(powdo("kimai-sync", "--pending", env=_ADMIN)) == []
    for flags in (("-n",), ()):
        [record] = _records(powdo("kimai-sync", "--reconcile", *flags, env=_ADMIN))
        assert (record["action"], record["description"]) == ("updated", "Pages")
        was = record["was"]
        assert isinstance(was, dict) and (was["description"], was["algorithm"]) == ("Website", "powdo-2")
    [record] = _records(powdo("kimai-sync", "--reconcile", env=_ADMIN))
    assert record["action"] == "unchanged"


def _found(done: CompletedProcess[bytes], status: int = 0) -> dict[str, tuple[str, str]]:
    return {str(one["what"]): (str(one["state"]), str(one["value"])) for one in _records(done, status)}


def test_check_of_a_kimai_as_it_should_be(powdo: Run, store: Store, kimai: Double) -> None:
    """--check tells version, account, tracking mode, rights and zone, and changes nothing."""
    store.enroll("ana", pubkeys=["11" * 32], kimai_user=5)
    found = _found(powdo("kimai-sync", "--check", "--json", env=_ADMIN))
    assert {state for state, _ in found.values()} == {"ok"}
    assert found["version"][1] == "2.65.0"
    assert found["token"][1] == "user 1, admin, super administrator"
    assert found["timesheets of ana"][1] == "user 5, by another's token"
    assert found["tracking mode"][1] == "default" and found["time zone"][1] == "UTC"
    assert found["rules"][1] == "1, and all that they name is there"
    assert {call.method for call in kimai.calls} == {"GET"}
    assert "super administrator" in powdo("kimai-sync", "--check", env=_ADMIN).stdout.decode()


def test_check_of_a_kimai_that_stands_in_the_way(powdo: Run, store: Store, kimai: Double) -> None:
    """What stands in the way is told with what helps, and ends in status 69."""
    store.enroll("ana", pubkeys=["11" * 32], kimai_user=5)
    kimai.kimai.tracking_mode = "punch"
    kimai.kimai.activities.clear()
    done = powdo("kimai-sync", "--check", "--create", "--json", env={"POWDO_KIMAI_TOKEN": "alice"})
    found = _found(done, 69)
    assert {what for what, (state, _) in found.items() if state == "error"} == {
        "tracking mode", "timesheets of ana", "rule 'website'",
    }  # fmt: skip
    assert found["create"] == ("warning", "wanted, and a user may not")
    assert b"[[kimai.worker]]" in done.stderr


def test_check_warns_of_a_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Kimai at an address of the public Internet is warned of; one that is not found is not."""
    import socket

    from powdo.adapters.kimai import check

    def found(address: str) -> Callable[..., list[tuple[object, ...]]]:
        return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    monkeypatch.setattr(check.socket, "getaddrinfo", found("93.184.215.14"))
    assert check._url("https://kimai.example.com").state == "warning"
    for address in ("10.1.2.3", "127.0.0.1", "fd00::1", "fe80::1%eth0"):
        monkeypatch.setattr(check.socket, "getaddrinfo", found(address))
        assert check._url("https://kimai.example.com").state == "ok"
