"""How a secret key and a password come in: from the terminal, a file, a descriptor; never from argv."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path

from powdo.errors import BadRecordError, InputMissingError, KeyRejectedError, UsageError

#: An ncryptsec has 162 characters.
_LONGEST = 1024
#: The least that NIST SP 800-63B lets a person choose (revision 3, 5.1.1.2; in revision 4, 3.1.1.2, beside
#: something that they have, as they have the ncryptsec).
#: Who has an ncryptsec may try passwords on it for ever, and nothing but scrypt slows them down.
SHORTEST_PASSWORD = 8
_NO_TERMINAL = "give the key with --file FILE or --fd N"


def read_secret(what: str, *, file: str | None, fd: int | None) -> bytearray:
    """Return the text of a secret key without white space around, for the caller to wipe.

    Raises: BadRecordError, InputMissingError, KeyRejectedError, UsageError.
    """
    if file is not None:
        return _read_file(file)
    if fd is not None:
        return _read(fd, f"descriptor {fd}")
    from powdo.terminal import ask_secret

    return _stripped(ask_secret(what, hint=_NO_TERMINAL))


def read_key(text: bytearray, password_file: str | None) -> bytearray:
    """Return the 32 secret bytes in *text*, an nsec or ncryptsec, for the caller to wipe.

    Raises: BadRecordError, KeyRejectedError, UsageError.
    """
    from powdo.custody import wipe
    from powdo.nips.bech32 import nsec_to_secret
    from powdo.nips.nip49 import decrypt

    lower = text.lower()
    try:
        if lower.startswith(b"nsec1"):
            if password_file is not None:
                raise UsageError("an nsec has no password", hint="leave out --password-file")
            return nsec_to_secret(lower)
        if lower.startswith(b"ncryptsec1"):
            return decrypt(lower.decode("ascii", "replace"), read_password(password_file))
        if lower.startswith(b"npub1"):
            raise BadRecordError("this is a public key", hint="who knows the nsec can import it")
    finally:
        wipe(lower)
    raise BadRecordError("neither an nsec nor an ncryptsec", hint="it should look like nsec1… or ncryptsec1…")


def read_password(file: str | None) -> str:
    """Return the password that opens an ncryptsec, however short. Raises: KeyRejectedError, UsageError."""
    password = _asked("password") if file is None else _written(file)
    if not password:
        raise KeyRejectedError("the password is empty")
    return password


def choose_password(file: str | None) -> str:
    """Return a new password, asked for twice on a terminal; see SHORTEST_PASSWORD.

    Raises: KeyRejectedError, UsageError.
    """
    if file is not None:
        return _long_enough(_written(file))
    password = _long_enough(_asked(f"password, {SHORTEST_PASSWORD} characters or more"))
    if _asked("the same again") != password:
        raise UsageError("the passwords differ", hint="nothing was written")
    return password


def _long_enough(password: str) -> str:
    """Return *password* if it is no trivial one, its code points counted as scrypt is given them."""
    if len(unicodedata.normalize("NFKC", password)) < SHORTEST_PASSWORD:
        raise KeyRejectedError(
            f"the password has fewer than {SHORTEST_PASSWORD} characters, which is soon guessed",
            hint="nothing was written; a few words that have nothing to do with each other make a good one",
        )
    return password


def _asked(what: str) -> str:
    from powdo.terminal import ask_secret

    return _text(ask_secret(what, hint="give the password with --password-file FILE"))


def _written(file: str) -> str:
    from powdo.settings.paths import read_secret_file

    return read_secret_file(Path(file))


def _text(line: bytearray) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise KeyRejectedError("the password is not UTF-8") from None


def _read_file(name: str) -> bytearray:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputMissingError(f"cannot open '{name}': {error.strerror}") from None
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            raise KeyRejectedError(
                f"others can read the secret file '{name}'", hint=f"run: chmod 600 '{name}'"
            )
        return _read(fd, f"'{name}'")
    finally:
        os.close(fd)


def _read(fd: int, what: str) -> bytearray:
    text, used = bytearray(_LONGEST), 0  # it never grows: that would leave copies behind
    try:
        with memoryview(text) as view:
            while used < _LONGEST and (count := os.readv(fd, [view[used:]])):
                used += count
    except OSError as error:
        raise InputMissingError(f"cannot read {what}: {error.strerror}") from None
    if used == _LONGEST:
        raise BadRecordError(f"{what} holds more than a secret key")
    del text[used:]
    return _stripped(text)


def _stripped(text: bytearray) -> bytearray:
    """Return *text* without white space around, cut in place."""
    while text and text[-1:].isspace():
        del text[-1:]
    while text and text[:1].isspace():
        del text[:1]
    return text
