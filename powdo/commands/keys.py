"""powdo keys: make and show the keys of users in custody."""

from __future__ import annotations

from typing import Any

import click

from powdo.options import Run, command, group, report_options


@group("keys")
def keys() -> None:
    """Make and show the keys of users in custody."""


def _store(run: Run) -> Any:
    from powdo.adapters.keystore import Keystore

    return Keystore(run.settings.keystore_path)


def _public(record: dict[str, Any]) -> dict[str, Any]:
    """Return the public part of a user record."""
    nostr = record["nostr"]
    return {
        "id": record.get("id"),
        "username": record["username"],
        "nostr": {"npub": nostr.get("npub"), "created_at": nostr.get("created_at")},
    }


@command("new", parent=keys, epilog="powdo keys new ana ana-access")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def new(run: Run, names: tuple[str, ...]) -> None:
    """Make a key for each NAME and write its npub."""
    from powdo import stdio

    store, master = _store(run), run.settings.master_key()
    for name in names:
        record = store.create(name, master)
        stdio.write_bytes(f"{record['nostr']['npub']}\n".encode())


@command("list", parent=keys, epilog="powdo keys list --json | jq -r .nostr.npub")
@report_options
def list_keys(run: Run, json: bool, headers: bool) -> None:
    """List the users that have a key."""
    records = [_public(record) for record in _store(run).records()]
    if json:
        run.table(records, json=True)
        return
    rows = [
        {"user": item["username"], "npub": item["nostr"]["npub"], "created": item["nostr"]["created_at"]}
        for item in records
    ]
    run.table(rows, json=False, headers=headers)


@command("show", parent=keys, epilog='powdo init worker --dvm "$(powdo keys show -p dvm dvm)"')
@click.argument("name")
@click.option("--hex", "as_hex", is_flag=True, help="Write the pubkey in hex instead of the npub.")
@click.option("--json", is_flag=True, help="Write the public part of the user record.")
def show(run: Run, name: str, as_hex: bool, json: bool) -> None:
    """Write the npub of NAME."""
    from powdo import stdio
    from powdo.errors import UsageError
    from powdo.nips.bech32 import decode_npub

    if as_hex and json:
        raise UsageError("--hex and --json exclude each other", hint="--json has the npub too")
    record = _store(run).get(name)
    if json:
        run.emit(_public(record))
        return
    npub = record["nostr"]["npub"]
    stdio.write_bytes(f"{decode_npub(npub) if as_hex else npub}\n".encode())
