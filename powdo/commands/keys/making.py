"""`powdo keys new` and `import`: how a key comes into custody."""

from __future__ import annotations

import click

from powdo.commands.keys.group import keys
from powdo.options import Run, command, network_options


@command("new", parent=keys, epilog="powdo keys new ana ana-access")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@network_options
def new(run: Run, names: tuple[str, ...], timeout: float) -> None:
    """Make a key for each NAME, or none if one has a key already, and write the npubs."""
    from powdo import stdio
    from powdo.admission import tell_of_keys

    records = run.keystore.create_all(names, run.settings.master_key())
    for record in records:
        stdio.write_bytes(f"{record['nostr']['npub']}\n".encode())
    tell_of_keys(run, records, timeout)


@command(
    "import",
    parent=keys,
    epilog="powdo keys import ana\npowdo keys import ana --fd 3 3<ana.nsec",
)
@click.argument("name")
@click.option("--file", "file", metavar="FILE", help="Read the key from FILE, which only you can read.")
@click.option("--fd", type=click.IntRange(0), metavar="N", help="Read the key from the open descriptor N.")
@click.option("--password-file", metavar="FILE", help="Read the password of an ncryptsec from FILE.")
@network_options
def import_key(
    run: Run, name: str, file: str | None, fd: int | None, password_file: str | None, timeout: float
) -> None:
    """Take a key into custody as that of NAME, and write its npub.

    The key, an nsec or an ncryptsec (NIP-49), is asked for on the terminal and not shown there. It is never
    given on the command line, which others see.
    """
    from powdo import stdio
    from powdo.admission import tell_of_keys
    from powdo.commands.keys.secret import read_key, read_secret
    from powdo.custody import check_username, wipe
    from powdo.errors import UsageError
    from powdo.nips.curve import SecretKey

    if file is not None and fd is not None:
        raise UsageError("--file and --fd exclude each other", hint="the key comes from one place")
    check_username(name)
    master = run.settings.master_key()
    text = read_secret(f"secret key of {name}", file=file, fd=fd)
    try:
        secret = read_key(text, password_file)
    finally:
        wipe(text)
    try:
        key = SecretKey(secret)
    finally:
        wipe(secret)
    with key:
        record = run.keystore.adopt(name, key, master)
    stdio.write_bytes(f"{record['nostr']['npub']}\n".encode())
    tell_of_keys(run, [record], timeout)
