from __future__ import annotations

import pytest

from powdo.worktime.bundle_format import OUTER_HEAD, OUTER_TAIL
from powdo.worktime.winzip import MAC_SIZE, SALT_SIZE, VERIFIER_SIZE, Opener
from tests.bundles import KEY, seal

_PASSWORD = KEY.hex().encode()


def parts(blob: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return salt, verifier, ciphertext and code of a ZIP with one member."""
    sealed = blob[OUTER_HEAD:-OUTER_TAIL]
    begin = SALT_SIZE + VERIFIER_SIZE
    return sealed[:SALT_SIZE], sealed[SALT_SIZE:begin], sealed[begin:-MAC_SIZE], sealed[-MAC_SIZE:]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5000])
@pytest.mark.parametrize("piece", [1, 16, 4999])
def test_what_another_sealed_is_opened(size: int, piece: int) -> None:
    """What pyzipper seals is authentic and comes back, in pieces of whatever size."""
    data = bytes(number * 7 % 256 for number in range(size))
    salt, verifier, sealed, mac = parts(seal(data))
    pieces = [sealed[at : at + piece] for at in range(0, size, piece)]
    opener = Opener(_PASSWORD, salt)
    assert opener.fits(verifier)
    for each in pieces:
        opener.authenticate(each)
    assert opener.authentic(mac)
    assert b"".join(map(opener.decrypt, pieces)) == data


def test_another_password_or_byte_does_not_pass() -> None:
    """A wrong password shows in the verifier or in the code, an altered byte in the code."""
    salt, verifier, sealed, mac = parts(seal(b"data"))
    wrong = Opener(b"00" * 32, salt)
    wrong.authenticate(sealed)
    assert not wrong.fits(verifier) or not wrong.authentic(mac)
    opener = Opener(_PASSWORD, salt)
    opener.authenticate(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert not opener.authentic(mac)
    assert not opener.authentic(b"")
