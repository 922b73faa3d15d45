"""`powdo users`: who is enrolled with this DVM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from powdo.errors import PowdoError, UsageError
from powdo.options import Run, command, dry_run_option, group, network_options, report_options

if TYPE_CHECKING:
    from powdo.adapters.database import Chain, Store, Worker

_LONGEST_NAME = 100


@group("users")
def users() -> None:
    """Enroll workers and list them."""


@command(
    "add",
    parent=users,
    epilog="powdo users add npub1… --name ana --access npub1… --kimai-user 3 --timezone Europe/Berlin",
)
@click.argument("npubs", nargs=-1, metavar="[NPUB]...")
@click.option("--name", required=True, help="What the worker is called here.")
@click.option("--access", multiple=True, metavar="NPUB", help="A pseudonym that relay and Blossom may know.")
@click.option("--kimai-user", type=click.IntRange(1), metavar="ID", help="The worker's number in Kimai.")
@click.option("--timezone", metavar="TZ", help="Where the worker's days begin and end.")
@click.option("--day-start", metavar="DURATION", help="How long after midnight they do, such as 4h.")
@click.option("--create-key", is_flag=True, help="Keep their access key in custody, made if there is none.")
@click.option("--about", metavar="TEXT", help="Something about them, for the profile of that key.")
@click.option("--picture", metavar="URL", help="Where a picture of them is, for that profile.")
@network_options
@dry_run_option
def add(
    run: Run,
    npubs: tuple[str, ...],
    name: str,
    access: tuple[str, ...],
    kimai_user: int | None,
    timezone: str | None,
    day_start: str | None,
    create_key: bool,
    about: str | None,
    picture: str | None,
    timeout: float,
    dry_run: bool,
) -> None:
    """Enroll a worker by their npubs, or add to what is known of one.

    The relay of [allow] is told of their access keys; while it is away that waits in a queue, and where
    there is none a line says so. With --create-key the worker is a user in custody: NAME's key is made and
    their profile published, unless they have an access key of their own. With -n write the worker as `users
    show --json` would, and change nothing.
    """
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UsageError(f"'{name[:_LONGEST_NAME]}' cannot name a worker")
    keys, pseudonyms = _pubkeys(npubs), _pubkeys(access)
    _check_zone(timezone)
    seconds = _day_start(day_start)
    profile = {"about": about, "picture": picture}
    if any(profile.values()) and not create_key:
        raise UsageError("a profile is signed with a key in custody", hint="ask for it with --create-key")
    if create_key:
        from powdo.accounts import ensure_key, expect_no_other_key

        with _store(run) as store:  # what makes no sense is told before a key is made
            expect_no_other_key(run, store.enroll(name, pubkeys=keys, access=pseudonyms, dry=True))
        if not dry_run:
            pseudonyms.append(ensure_key(run, name))
    with _store(run) as store:
        before = store.worker(name)
        if not npubs and not create_key and before is None:
            raise UsageError(f"no worker is called '{name}' yet", hint="give the npub of the new worker")
        worker = store.enroll(
            name,
            pubkeys=keys,
            access=pseudonyms,
            kimai_user=kimai_user,
            timezone=timezone,
            day_start=seconds,
            dry=dry_run,
        )
    if dry_run:
        run.emit(_row(worker))
        return
    _tell_relay(run, worker, timeout, news=bool(pseudonyms) or (before is not None and before.disabled))
    if create_key:
        from powdo.accounts import publish_profile

        publish_profile(run, name, profile, timeout)


@command(
    "list",
    parent=users,
    epilog="powdo users list --json | jq -r '.access[]'",
    nothing="nobody is enrolled yet; `powdo users add` enrolls a worker",
)
@report_options
def list_users(run: Run, json: bool, headers: bool) -> None:
    """List the workers that are enrolled or were."""
    with _store(run) as store:
        rows = [_row(worker) for worker in store.workers()]
    run.table(rows if json else [_cells(row) for row in rows], json=json, headers=headers)


@command("show", parent=users, epilog="powdo users show ana --json")
@click.argument("name")
@report_options
def show(run: Run, name: str, json: bool, headers: bool) -> None:
    """Show one worker, with the chain of each of their devices."""
    with _store(run) as store:
        worker = _known(store.worker(name), name)
        row, chains = _row(worker), store.chains(worker.id)
    if json:
        run.emit(row | {"devices": [_chain(chain) for chain in chains]})
        return
    rows = [{"what": key, "value": value} for key, value in _cells(row).items()]
    rows += [{"what": "device", "value": _told(chain)} for chain in chains]
    run.table(rows, json=False, headers=headers)


@command("remove", parent=users, epilog="powdo users remove ana\npowdo users remove ana --erase -n")
@click.argument("name")
@click.option("--delete-key", is_flag=True, help="Delete their key in custody for good, too.")
@click.option("--erase", is_flag=True, help="Erase all that the worker has sent, too.")
@click.option("--yes", is_flag=True, help="Erase and delete without asking.")
@network_options
@dry_run_option
def remove(
    run: Run, name: str, delete_key: bool, erase: bool, yes: bool, timeout: float, dry_run: bool
) -> None:
    """Refuse what a worker sends from now on.

    What they sent is kept unless it is to be erased; `users add` enrolls them again. The relay of [allow] is
    told to let their access keys in no longer. With -n write the worker as `users show --json` would, and
    change nothing.
    """
    if yes and not erase and not delete_key:
        raise UsageError("--yes belongs to --erase and --delete-key")
    if delete_key and not dry_run:
        _delete_key(run, name, yes=yes)
    if erase:
        _erase(run, name, timeout, yes=yes, dry=dry_run)
        return
    with _store(run) as store:
        worker = _known(store.worker(name) if dry_run else store.remove(name), name)
    if dry_run:
        run.emit(_row(worker) | {"removed": True})
    else:
        _tell_relay(run, worker, timeout)


def _delete_key(run: Run, name: str, *, yes: bool) -> None:
    """Delete the key of *name* in custody for good, once a person says so. Raises: UsageError."""
    from powdo import accounts

    with _store(run) as store:
        _known(store.worker(name), name)
    run.keystore.get(name)
    _ask(f"delete the secret key of '{name}' for good?", yes=yes)
    accounts.delete_key(run, name)


def _erase(run: Run, name: str, timeout: float, *, yes: bool, dry: bool) -> None:
    """Erase the worker *name* and all that is stored of them, as far as *dry* allows."""
    from dataclasses import replace

    with _store(run) as store:
        worker = _known(store.worker(name), name)
        traces = store.traces(worker.id)
        if dry:
            run.emit(_row(worker) | {"removed": True, "erased": traces._asdict()})
            return
        _ask(f"erase '{name}' with {traces.bundles} bundles and {traces.screenshots} screenshots?", yes=yes)
        _erase_all(run, store, worker, traces.bundles)
    if traces.timesheets:
        run.console.warning(
            f"what was sent of '{name}' to Kimai is still there", hint="delete it in Kimai, if that is meant"
        )
    _tell_relay(run, replace(worker, disabled=True), timeout)


def _erase_all(run: Run, store: Store, worker: Worker, bundles: int) -> None:
    from powdo.adapters.evidence import Remover

    remover = Remover(run.settings.data_dir / "evidence", store.needed, overwrite=True)
    store.begin_erasing(worker.id)
    erased = False
    with run.progress("erase", None) as progress:
        while not erased:
            for files in store.doomed(worker.id):
                progress.advance(len(remover.remove(files)))
            for left in remover.leftovers():
                progress.advance(len(left))
            erased = store.finish_erasing(worker.id)
    run.console.info(f"erased '{worker.name}' with {bundles} bundles")


def _ask(question: str, *, yes: bool) -> None:
    """Return if a person says so on the terminal. Raises: UsageError where nobody can be asked."""
    import sys

    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nobody can be asked here", hint="--yes does not ask")
    click.confirm(question, abort=True, err=True)


def _tell_relay(run: Run, worker: Worker, timeout: float, *, news: bool = True) -> None:
    from powdo.admission import tell_of

    tell_of(run, worker, timeout, news=news)


@contextmanager
def _store(run: Run) -> Iterator[Store]:
    from powdo.adapters.database import Store

    store = Store(run.settings.database_url)
    try:
        yield store
    finally:
        store.close()


def _known(worker: Worker | None, name: str) -> Worker:
    if worker is None:
        raise UsageError(f"no worker is called '{name}'", hint="`powdo users list` shows them")
    return worker


def _pubkeys(npubs: tuple[str, ...]) -> list[str]:
    from powdo.nips.bech32 import parse_pubkey

    try:
        return [parse_pubkey(npub) for npub in npubs]
    except PowdoError as error:
        hint = error.hint or "an npub is what `powdo keys show NAME` writes"
        raise UsageError(error.message, hint=hint) from None


def _check_zone(name: str | None) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name or "UTC")
    except (OSError, ValueError, KeyError):
        raise UsageError(f"'{name}' is not a time zone", hint="such as Europe/Berlin") from None


def _day_start(value: str | None) -> int | None:
    from powdo.settings.units import parse_duration

    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except PowdoError as error:
        raise UsageError(f"--day-start: {error.message}") from None
    if seconds >= 86_400:
        raise UsageError(f"--day-start: '{value}' is a day or more", hint="such as 4h, or 0 for midnight")
    return seconds


def _row(worker: Worker) -> dict[str, Any]:
    from powdo.nips.bech32 import encode_npub

    return {
        "name": worker.name,
        "npubs": [encode_npub(pubkey) for pubkey in worker.pubkeys],
        "access": [encode_npub(pubkey) for pubkey in worker.access_pubkeys],
        "kimai_user": worker.kimai_user,
        "timezone": worker.timezone,
        "day_start": worker.day_start,
        "removed": worker.disabled,
    }


def _chain(chain: Chain) -> dict[str, Any]:
    from powdo.lines import format_time
    from powdo.worktime.manifest import from_micros

    return {
        "device": chain.device,
        "since": format_time(from_micros(chain.begin_us)),
        "first": chain.first,
        "last": chain.last,
        "bundles": chain.bundles,
        "withheld": chain.withheld,
        "missing": [{"first": first, "last": last} for first, last in chain.missing],
        "forked": list(chain.forked),
    }


def _told(chain: Chain) -> str:
    """Return *chain* in words."""
    from powdo.lines import format_time
    from powdo.worktime.manifest import from_micros

    missing = [str(first) if first == last else f"{first}-{last}" for first, last in chain.missing]
    parts = [
        f"{chain.device} since {format_time(from_micros(chain.begin_us))}",
        f"{chain.bundles} bundles up to {chain.last}",
        f"{chain.withheld} withheld by the worker" if chain.withheld else "",
        f"missing {' '.join(missing)}" if missing else "",
        f"told in two versions {' '.join(map(str, chain.forked))}" if chain.forked else "",
    ]
    return ", ".join(filter(None, parts))


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """Return *row* for a table."""
    lists = {key: " ".join(value) for key, value in row.items() if isinstance(value, list)}
    return row | lists | {"removed": "yes" if row["removed"] else ""}
