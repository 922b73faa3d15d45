"""`powdo keys delete`: a key that nobody shall use any more."""

from __future__ import annotations

import click

from powdo.commands.keys.group import keys
from powdo.errors import UsageError
from powdo.options import Run, command, dry_run_option, network_options


@command("delete", parent=keys, epilog="powdo keys delete ana\npowdo keys delete ana --dry-run | jq .nostr")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@network_options
@dry_run_option
def delete(run: Run, names: tuple[str, ...], yes: bool, timeout: float, dry_run: bool) -> None:
    """Overwrite the secret key of each NAME for good; the npub and the date of deletion are kept.

    Asks on the terminal first. The relay of [allow] is told to let the key in no longer.
    """
    from powdo.admission import tell_of_keys
    from powdo.custody import erased, public_part

    store = run.keystore
    records = [store.get(name) for name in dict.fromkeys(names)]
    if dry_run:
        for record in records:
            run.emit(public_part(erased(record)))
        return
    _ask(run, [record["username"] for record in records], yes=yes)
    deleted = [store.delete(record["username"]) for record in records]
    tell_of_keys(run, deleted, timeout)


def _ask(run: Run, names: list[str], *, yes: bool) -> None:
    """Ask whether this is wanted. Raises: UsageError."""
    identity = run.settings.identity
    for name in names:
        if name in (identity.user, identity.access_user):
            run.console.warning(f"'{name}' is the key that [identity] of this configuration names")
    if yes:
        return
    from powdo.terminal import confirm

    question = f"delete the secret key of {', '.join(names)} for good? what is encrypted for it is lost"
    if not confirm(question, hint="--yes does not ask"):
        raise UsageError("not confirmed", hint="nothing was deleted")
