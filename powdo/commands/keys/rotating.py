"""`powdo keys rotate-master`: the same keys under another master key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from powdo.commands.keys.group import keys
from powdo.errors import KeyRejectedError
from powdo.options import Run, command

if TYPE_CHECKING:
    from powdo.settings.secrets import SecretSource


@command(
    "rotate-master",
    parent=keys,
    epilog="(umask 077; openssl rand -hex 32 >new.key)\n"
    "powdo keys rotate-master --new-key-file new.key && mv new.key ~/.config/powdo/master.key",
)
@click.option(
    "--new-key-file",
    "file",
    required=True,
    metavar="FILE",
    help="The new master key, 64 hex digits, in a file that only you can read.",
)
def rotate_master(run: Run, file: str) -> None:
    """Encrypt the data key of every user with another master key; the nsecs stay as they are.

    All keys or none: whatever ends it, the keystore opens either with the old master key or with the new
    one. Run again with the old one once it is done, it says so and changes nothing.
    """
    from pathlib import Path

    from powdo.custody import WrongMasterError
    from powdo.custody.audit import audit
    from powdo.settings import parse_master_key
    from powdo.settings.paths import read_secret_file

    source, old = run.settings.master_key_source(), run.settings.master_key()
    new = parse_master_key(read_secret_file(Path(file)))
    store = run.keystore
    records = store.records()
    with run.progress("records", len(records)) as progress:
        try:
            count = store.rotate(old, new, progress.advance)
        except WrongMasterError:
            if audit(records, new, lambda _: None):
                raise
            run.console.note(f"the keystore opens with the one in '{file}' already; nothing was changed")
        except KeyRejectedError as error:
            raise KeyRejectedError(f"nothing was changed: {error.message}", hint=error.hint) from None
        else:
            opens = "key opens" if count == 1 else "keys open"
            run.console.note(f"{count} {opens} with the master key in '{file}' now")
    run.console.note(f"put it where the master key comes from: {_place(source)}")


def _place(source: SecretSource) -> str:
    return f"'{source.file}', or {source.variable} and the like if they are set"
