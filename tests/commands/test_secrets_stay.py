"""No secret comes out where none is asked for: not with -vv, not in a traceback, not in what is stored."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from powdo.adapters.keystore import Keystore
from powdo.custody import UserRecord
from powdo.nips.bech32 import encode_nsec
from powdo.records import encode_line

MASTER = "c4" * 31 + "5e"
OTHER = "b7" * 31 + "e5"

Powdo = Any

#: Runs powdo with one of its functions failing in the middle of its work, as a bug of ours would.
_BROKEN = """
import importlib, sys
from powdo import cli
module, name = sys.argv[1].rsplit(":", 1)
module = importlib.import_module(module)
def broken(*arguments, **more):
    local = [repr(argument) for argument in arguments]
    raise RuntimeError("broken on purpose")
setattr(module, name, broken)
sys.argv = ["powdo", *sys.argv[2:]]
cli.main()
"""


@pytest.fixture
def secrets(own_world: Path) -> list[bytes]:
    """Return every form of the secrets of a keystore with `ana`: master keys, DEK, nsec, hex, base64."""
    store = Keystore(own_world / "data" / "keystore.json")
    record = store.create("ana", bytes.fromhex(MASTER))
    with store.unlock("ana", bytes.fromhex(MASTER)) as key:
        secret = bytes(key.secret_bytes())
    raw = [secret, dek_of(record), bytes.fromhex(MASTER), bytes.fromhex(OTHER)]
    texts = [encode_nsec(secret)]
    for data in raw:
        texts += [
            data.hex(),
            data.hex().upper(),
            base64.b64encode(data).decode(),
            repr(data),
            repr(bytearray(data)),
        ]
    return [*raw, *(text.encode() for text in texts)]


def dek_of(record: UserRecord) -> bytes:
    """Return the DEK of *record*."""
    nostr = record["nostr"]
    part = {name: base64.b64decode(nostr[name]) for name in ("encrypted_dek", "dek_iv", "dek_tag")}
    return AESGCM(bytes.fromhex(MASTER)).decrypt(
        part["dek_iv"], part["encrypted_dek"] + part["dek_tag"], None
    )


def unsigned(content: str) -> bytes:
    """Return the line of an event to be signed."""
    return encode_line({"kind": 1, "content": content})


#: Commands that meet the secrets, with their input; none of them is to write one.
COMMANDS: list[tuple[tuple[str, ...], bytes]] = [
    (("keys", "new", "bob"), b""),
    (("keys", "list"), b""),
    (("keys", "show", "ana", "--json"), b""),
    (("keys", "audit"), b""),
    (("keys", "import", "ana", "--fd", "0"), b"NSEC\n"),
    (("keys", "import", "bob", "--fd", "0"), b"NSEC\n"),
    (("keys", "import", "bob", "--fd", "0"), b"NSECx\n"),
    (("keys", "export", "ana"), b""),
    (("keys", "export", "ana", "--ncryptsec", "--log-n", "16", "--yes", "--password-file", "OTHERFILE"), b""),
    (("keys", "new", "NSEC"), b""),
    (("event", "note", "--user", "ana", "hi"), b""),
    (("event", "note", "--user", "NSEC", "hi"), b""),
    (("event", "note", "--user", "ana", "hi", "--mention", "NSEC"), b""),
    (("event", "sign", "--user", "ana"), unsigned("x") + b"nonsense\n"),
    (("event", "reward", "--user", "ana", "--amount", "1", "--to", "NSEC"), b""),
    (("users", "add", "NSEC", "--name", "ana"), b""),
    (("keys", "rotate-master", "--new-key-file", "OTHERFILE"), b""),
    (("keys", "audit"), b""),
    (("keys", "delete", "ana", "--yes"), b""),
]


def test_no_command_tells_a_secret(
    powdo: Powdo, own_world: Path, secrets: list[bytes], tmp_path: Path
) -> None:
    """With -vv, right or wrong, through every command that meets keys: no secret in any form comes out."""
    nsec = next(secret.decode() for secret in secrets if secret.startswith(b"nsec1"))
    other = tmp_path / "other"
    other.write_text(OTHER)
    other.chmod(0o600)
    for arguments, stdin in COMMANDS:
        words = [word.replace("NSEC", nsec).replace("OTHERFILE", str(other)) for word in arguments]
        done = powdo(
            *words, "-vv", stdin=stdin.replace(b"NSEC", nsec.encode()), env={"NSEC_MASTER_KEY": MASTER},
            start_new_session=True,
        )  # fmt: skip
        for secret in secrets:
            assert secret not in done.stdout + done.stderr, arguments
    stored = [
        path for folder in ("data", "state") for path in (own_world / folder).rglob("*") if path.is_file()
    ]
    assert any(path.name == "keystore.json" for path in stored)
    for path in stored:
        assert not any(secret in path.read_bytes() for secret in secrets), path


@pytest.mark.parametrize(
    "broken",
    [
        "powdo.custody.record:nsec_to_secret",
        "powdo.custody.record:encode_npub",
        "powdo.custody.record:_open",
        "powdo.custody.record:secret_to_nsec",
        "powdo.nips.event:sign",
        "powdo.nips.curve:_x_only",
        "powdo.custody:new_record",
    ],
)
def test_no_traceback_tells_a_secret(powdo: Powdo, secrets: list[bytes], broken: str) -> None:
    """A bug in the middle of the work ends in 70 with its traceback, and no secret stands in it."""
    nsec = next(secret for secret in secrets if secret.startswith(b"nsec1"))
    told = []
    for words, stdin in (
        (("event", "note", "--user", "ana", "hi", "-vv"), b""),
        (("keys", "import", "bob", "--fd", "0", "-vv"), nsec),
        (("keys", "new", "cy", "-vv"), b""),
    ):
        done = subprocess.run(
            [sys.executable, "-c", _BROKEN, broken, *words],
            env=powdo.environment({"NSEC_MASTER_KEY": MASTER}),
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        told.append((done.returncode, b"Traceback" in done.stderr))
        for secret in secrets:
            assert secret not in done.stdout + done.stderr
    assert (70, True) in told, told


def test_a_key_shows_nothing_of_itself(secrets: list[bytes], own_world: Path) -> None:
    """A key written out, formatted, or put into JSON or pickle by mistake gives its pubkey at most."""
    import pickle

    store = Keystore(own_world / "data" / "keystore.json")
    with store.unlock("ana", bytes.fromhex(MASTER)) as key:
        for text in (repr(key), str(key), f"{key}", repr([key]), repr(vars(store))):
            assert not any(secret.decode("latin-1") in text for secret in secrets)
        with pytest.raises(TypeError):
            pickle.dumps(key)
        with pytest.raises(TypeError):
            json.dumps(key)


def test_a_child_sees_no_secret_of_the_environment(powdo: Powdo, own_world: Path, tmp_path: Path) -> None:
    """The command that tells the master key has all other variables, the proxy's address too."""
    seen = tmp_path / "seen"
    command = shlex.join(["sh", "-c", f"env > {shlex.quote(str(seen))}; echo {MASTER}"])
    config = own_world / "powdo.toml"
    config.write_text(f"[identity]\nmaster_key_command = {json.dumps(command)}\n")
    config.chmod(0o600)
    told = {
        "POWDO_KIMAI_TOKEN": "kimai-token",
        "NOSTR_RELAY_ADMIN_SECRET": "admin-secret",
        "POWDO_PROXY": "socks5h://ana:hunter2@127.0.0.1:9050",
        "ELSE": "stays",
    }
    assert powdo("keys", "new", "ana", env=told).returncode == 0
    variables = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert variables["POWDO_PROXY"] == "socks5h://127.0.0.1:9050" and variables["ELSE"] == "stays"
    assert not any(word in seen.read_text() for word in ("hunter2", "kimai-token", "admin-secret"))
