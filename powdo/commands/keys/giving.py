"""`powdo keys export`: how a secret key leaves custody, which a person has to want."""

from __future__ import annotations

import click

from powdo.commands.keys.group import keys
from powdo.errors import UsageError
from powdo.options import Run, command


@command(
    "export",
    parent=keys,
    epilog="powdo keys export ana --ncryptsec >ana.ncryptsec\npowdo keys export ana | age -p >ana.nsec.age",
)
@click.argument("name")
@click.option("--ncryptsec", is_flag=True, help="Write it encrypted with a password (NIP-49).")
@click.option("--password-file", metavar="FILE", help="Read the password from FILE.")
@click.option(
    "--log-n",
    type=click.IntRange(16, 22),
    metavar="N",
    help="Take 2^N rounds of scrypt: memory and time double with each; 18 by default.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def export(
    run: Run, name: str, ncryptsec: bool, password_file: str | None, log_n: int | None, yes: bool
) -> None:
    """Write the secret key of NAME, an nsec or with --ncryptsec a text that a password opens.

    Asks on the terminal first. Whoever has an nsec is that user. A password has 8 characters or more.
    """
    from powdo import stdio
    from powdo.commands.keys.secret import choose_password
    from powdo.custody import wipe

    if not ncryptsec and (password_file is not None or log_n is not None):
        raise UsageError("an nsec has no password", hint="ask for an ncryptsec with --ncryptsec")
    record, master = run.keystore.get(name), run.settings.master_key()
    _ask(record["nostr"]["npub"], name, ncryptsec=ncryptsec, yes=yes)
    password = choose_password(password_file) if ncryptsec else None
    with run.keystore.unlock(name, master) as key:
        secret = key.secret_bytes()
    try:
        text = _written(secret, password, log_n)
    finally:
        wipe(secret)
    try:
        stdio.write_bytes(text)
    finally:
        wipe(text)


def _written(secret: bytearray, password: str | None, log_n: int | None) -> bytearray:
    """Return the line that is written."""
    import secrets

    from powdo.nips import nip49
    from powdo.nips.bech32 import secret_to_nsec

    if password is None:
        return secret_to_nsec(secret) + b"\n"
    text = nip49.encrypt(
        secret,
        password,
        salt=secrets.token_bytes(16),
        nonce=secrets.token_bytes(24),
        log_n=log_n or nip49.LOG_N,
    )
    return bytearray(f"{text}\n".encode())


def _ask(npub: str, name: str, *, ncryptsec: bool, yes: bool) -> None:
    """Ask whether this is wanted. Raises: UsageError."""
    if yes:
        return
    from powdo.terminal import confirm

    what = "an encrypted copy of the secret key" if ncryptsec else "the secret key, in clear,"
    if not confirm(f"write {what} of {name} ({npub})?", hint="--yes does not ask"):
        raise UsageError("not confirmed", hint="nothing was written")
