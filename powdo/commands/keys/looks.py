"""`powdo keys list`, `show` and `audit`: what is in custody, and whether it is sound."""

from __future__ import annotations

import click

from powdo.commands.keys.group import keys
from powdo.options import Run, command, report_options


@command(
    "list",
    parent=keys,
    epilog="powdo keys list --json | jq -r .nostr.npub",
    nothing="no keys are in custody yet; `powdo keys new NAME` makes one",
)
@report_options
def list_keys(run: Run, json: bool, headers: bool) -> None:
    """List the users that have a key, or had one."""
    from powdo.custody import public_part

    records = [public_part(record) for record in run.keystore.records()]
    if json:
        run.table(records, json=True)
        return
    rows = [
        {
            "user": record["username"],
            "npub": record["nostr"]["npub"],
            "created": record["nostr"]["created_at"],
            "deleted": record["nostr"].get("deleted_at"),
        }
        for record in records
    ]
    run.table(rows, json=False, headers=headers)


@command("show", parent=keys, epilog='powdo init worker --dvm "$(powdo keys show -p dvm dvm)"')
@click.argument("name")
@click.option("--hex", "as_hex", is_flag=True, help="Write the pubkey in hex instead of the npub.")
@click.option("--json", is_flag=True, help="Write the public part of the user record.")
def show(run: Run, name: str, as_hex: bool, json: bool) -> None:
    """Write the npub of NAME."""
    from powdo import stdio
    from powdo.custody import public_part
    from powdo.errors import UsageError
    from powdo.nips.bech32 import decode_npub

    if as_hex and json:
        raise UsageError("--hex and --json exclude each other", hint="--json has the npub too")
    record = run.keystore.get(name)
    if json:
        run.emit(public_part(record))
        return
    npub = record["nostr"]["npub"]
    stdio.write_bytes(f"{decode_npub(npub) if as_hex else npub}\n".encode())


@command("audit", parent=keys, epilog="powdo keys audit || mail -s 'keys in danger' root </dev/null")
def audit(run: Run) -> None:
    """Check every record: it opens with the master key, holds what its npub says, and no IV comes twice.

    Says nothing if all are sound.
    """
    from powdo.custody.audit import audit as examine
    from powdo.errors import ConfigurationError, UnsoundError

    master = run.settings.master_key()
    try:
        records = run.keystore.records()
    except ConfigurationError as error:
        raise UnsoundError(error.message, hint=error.hint) from None
    with run.progress("records", len(records)) as progress:
        findings = examine(records, master, progress.advance)
    for finding in findings:
        run.fail(UnsoundError(finding.problem))
    run.console.info(f"{len(records)} records, {len(findings)} faults")
