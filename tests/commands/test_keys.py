"""`powdo keys`: made, shown, taken in, given out, rotated, deleted, audited."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.keystore import Keystore
from powdo.custody import PARTS, WrongMasterError
from powdo.nips import nip49
from powdo.nips.bech32 import encode_npub, encode_nsec
from powdo.nips.curve import SecretKey
from tests.parts import need
from tests.pseudo_terminal import answered

_MASTER = {"NSEC_MASTER_KEY": "0f" * 32}
_OTHER = "a5" * 32
_KEY = SecretKey(b"\x07" * 32)
_NSEC = encode_nsec(bytes(_KEY.secret_bytes()))
_NPUB = encode_npub(_KEY.pubkey)

Powdo = Any


def secret_file(path: Path, text: str) -> str:
    """Return the name of a file that holds *text* and that only we can read."""
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


def ncryptsec(password: str) -> str:
    """Return our key encrypted with *password*."""
    return nip49.encrypt(_KEY.secret_bytes(), password, salt=os.urandom(16), nonce=os.urandom(24), log_n=16)


# --- new, list, show ---------------------------------------------------------------------------------


def test_keys_are_made_and_shown(powdo: Powdo) -> None:
    """New writes npubs, list all users, show one: as npub, hex or JSON, without the master key."""
    made = powdo("keys", "new", "ana", "bob", env=_MASTER)
    assert (made.returncode, made.stderr) == (0, b"")
    npubs = made.stdout.decode().splitlines()
    assert len(npubs) == 2
    assert all(npub.startswith("npub1") for npub in npubs)
    assert powdo("keys", "show", "bob").stdout.decode() == f"{npubs[1]}\n"
    pubkey = powdo("keys", "show", "--hex", "bob").stdout.decode().strip()
    assert len(bytes.fromhex(pubkey)) == 32
    record = json.loads(powdo("keys", "show", "--json", "bob").stdout)
    assert set(record) == {"id", "username", "nostr"}
    assert set(record["nostr"]) == {"npub", "created_at"}
    listed = [json.loads(line) for line in powdo("keys", "list", "--json").stdout.splitlines()]
    assert [(item["username"], item["nostr"]["npub"]) for item in listed] == [
        ("ana", npubs[0]),
        ("bob", npubs[1]),
    ]
    table = powdo("keys", "list").stdout.decode().splitlines()
    assert table[0].split() == ["user", "npub", "created", "deleted"]
    assert table[2].split()[:2] == ["ana", npubs[0]]
    assert powdo("keys", "list", "--no-headers").stdout.decode().splitlines()[0].split()[:2] == [
        "ana",
        npubs[0],
    ]


def test_a_key_is_never_made_anew(powdo: Powdo) -> None:
    """A second `new` of the same name is refused, and makes none of the others either."""
    first = powdo("keys", "new", "ana", env=_MASTER).stdout
    again = powdo("keys", "new", "bob", "ana", env=_MASTER)
    assert (again.returncode, again.stdout) == (77, b"")
    assert again.stderr.startswith(b"powdo keys new: error: 'ana' has a key already")
    assert b"even a deleted one" in again.stderr
    assert powdo("keys", "show", "ana").stdout == first
    assert powdo("keys", "show", "bob").returncode == 77


@pytest.mark.parametrize("master", [{}, {"NSEC_MASTER_KEY": "short"}, {"NSEC_MASTER_KEY": "zz" * 32}])
def test_a_master_key_that_is_missing_or_bad_ends_in_77(
    powdo: Powdo, own_world: Path, master: Mapping[str, str]
) -> None:
    """No key is made without a good master key, and no keystore either; the hint says how to make one."""
    done = powdo("keys", "new", "ana", env=master)
    assert (done.returncode, done.stdout) == (77, b"")
    assert b"hint: " in done.stderr
    assert b"openssl rand -hex 32" in done.stderr
    assert not (own_world / "data" / "keystore.json").exists()


@pytest.mark.parametrize("source", ["variable", "file", "credential", "command", "configured"])
def test_the_master_key_comes_from_where_it_is_safe(
    powdo: Powdo, own_world: Path, tmp_path: Path, source: str
) -> None:
    """A variable, a private file, systemd's credentials, a command, and the file beside the configuration."""
    file = secret_file(tmp_path / "nsec-master-key", _MASTER["NSEC_MASTER_KEY"])
    configured = f'[identity]\nmaster_key_command = "cat {file}"\n' if source == "command" else ""
    (own_world / "powdo.toml").write_text(configured)
    (own_world / "powdo.toml").chmod(0o600)
    if source == "configured":
        secret_file(own_world / "master.key", _MASTER["NSEC_MASTER_KEY"])
    given = {
        "variable": _MASTER,
        "file": {"NSEC_MASTER_KEY_FILE": file},
        "credential": {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    }
    done = powdo("keys", "new", "ana", env=given.get(source, {}))
    assert (done.returncode, done.stderr) == (0, b"")
    assert powdo("keys", "audit", env=_MASTER).returncode == 0
    if source == "file":
        Path(file).chmod(0o640)
        done = powdo("keys", "audit", env=given["file"])
        assert (done.returncode, b"others can read" in done.stderr) == (77, True)


def test_another_master_key_is_told(powdo: Powdo) -> None:
    """A keystore takes no key under a second master key, and opens with none but its own."""
    powdo("keys", "new", "ana", env=_MASTER)
    for arguments in (("new", "bob"), ("audit",), ("export", "ana", "--yes")):
        done = powdo("keys", *arguments, env={"NSEC_MASTER_KEY": "ff" * 32})
        assert (done.returncode, done.stdout) == (77, b"")
        assert b"the master key does not open the key of 'ana'" in done.stderr
        assert b"hint: it is another master key" in done.stderr
        assert b"ff" * 32 not in done.stderr


@pytest.mark.parametrize("command", [("show",), ("export", "--yes"), ("delete", "--yes")])
def test_an_unknown_name_ends_in_77(powdo: Powdo, command: tuple[str, ...]) -> None:
    """Who names nobody is told that there is no such key, and how to make it."""
    done = powdo("keys", *command, "nobody", env=_MASTER)
    assert (done.returncode, done.stdout) == (77, b"")
    assert b"powdo keys new nobody" in done.stderr


@pytest.mark.parametrize("command", ["new", "show", "import", "export", "delete"])
def test_a_secret_given_as_a_name_is_not_repeated(powdo: Powdo, own_world: Path, command: str) -> None:
    """An nsec or hex secret in the place of a name is refused unseen, and names nobody afterwards."""
    secrets = (_NSEC, _NSEC.upper(), bytes(_KEY.secret_bytes()).hex(), ncryptsec("x"))
    for secret in secrets if command == "new" else secrets[:1]:
        done = powdo("keys", command, secret, env=_MASTER)
        assert done.returncode in (65, 77)
        assert secret.encode() not in done.stderr + done.stdout
    assert not (own_world / "data" / "keystore.json").exists()


# --- import ------------------------------------------------------------------------------------------


def test_a_key_is_imported_from_the_terminal_unseen(powdo: Powdo) -> None:
    """The nsec is asked for on the terminal and not shown there; its npub comes out."""
    said = answered(powdo, "keys", "import", "ana", answers=[("secret key of ana: ", _NSEC)], env=_MASTER)
    assert (said.status, said.stdout.decode(), said.stderr) == (0, f"{_NPUB}\n", b"")
    assert _NSEC not in said.terminal


def test_an_ncryptsec_is_imported_with_its_password(powdo: Powdo) -> None:
    """The password is asked for too, unseen; a wrong one imports nothing."""
    text = ncryptsec("pass wörd")
    answers = [("secret key of ana: ", text), ("password: ", "wrong")]
    said = answered(powdo, "keys", "import", "ana", answers=answers, env=_MASTER)
    assert said.status == 77
    assert b"the password does not open the ncryptsec" in said.stderr
    answers[1] = ("password: ", "pass wörd")
    said = answered(powdo, "keys", "import", "ana", answers=answers, env=_MASTER)
    assert (said.status, said.stdout.decode()) == (0, f"{_NPUB}\n")
    assert "rd" not in said.terminal.replace("password", "")


def test_an_ncryptsec_with_a_short_password_is_imported(powdo: Powdo, tmp_path: Path) -> None:
    """One that was made elsewhere, or before passwords had a least length, opens."""
    file = secret_file(tmp_path / "password", "x")
    arguments = ("keys", "import", "ana", "--fd", "0", "--password-file", file)
    done = powdo(*arguments, stdin=ncryptsec("x").encode(), env=_MASTER)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{_NPUB}\n", b"")


def test_a_key_is_imported_from_a_file_or_descriptor(powdo: Powdo, tmp_path: Path) -> None:
    """A private file, a descriptor and stdin as one serve without a terminal; twice is once."""
    file = secret_file(tmp_path / "nsec", f"  {_NSEC}")
    done = powdo("keys", "import", "ana", "--file", file, env=_MASTER)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{_NPUB}\n", b"")
    done = powdo("keys", "import", "ana", "--fd", "0", stdin=f"{_NSEC.upper()}\n".encode(), env=_MASTER)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{_NPUB}\n", b"")
    reader, writer = os.pipe()
    os.write(writer, ncryptsec("x").encode())
    os.close(writer)
    password = secret_file(tmp_path / "password", "x")
    arguments = ("keys", "import", "ana", "--fd", str(reader), "--password-file", password)
    done = powdo(*arguments, env=_MASTER, pass_fds=[reader])
    assert (done.returncode, done.stdout.decode()) == (0, f"{_NPUB}\n")
    assert len(powdo("keys", "list", "--json").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (_NPUB, 65, "this is a public key"),
        (_NSEC[:-1], 65, "not an nsec"),
        (_NSEC[:-1] + ("q" if _NSEC[-1] != "q" else "p"), 65, "wrong checksum"),
        (encode_nsec(bytes(32)), 77, "not on the curve"),
        ("hello", 65, "neither an nsec nor an ncryptsec"),
        ("", 65, "neither an nsec nor an ncryptsec"),
        ("x" * 5000, 65, "holds more than a secret key"),
        ("ncryptsec1" + "q" * 20, 65, "the ncryptsec has a wrong checksum"),
    ],
)
def test_what_is_no_secret_key_is_not_imported(
    powdo: Powdo, own_world: Path, tmp_path: Path, text: str, status: int, told: str
) -> None:
    """It is told what is wrong, without the text, and no keystore is made."""
    password = ("--password-file", secret_file(tmp_path / "password", "x")) if "ncr" in text else ()
    done = powdo("keys", "import", "ana", "--fd", "0", *password, stdin=text.encode(), env=_MASTER)
    assert (done.returncode, done.stdout) == (status, b"")
    assert told in done.stderr.decode()
    assert len(text) < 6 or text.encode() not in done.stderr
    assert not (own_world / "data" / "keystore.json").exists()


def test_a_key_comes_from_one_safe_place(powdo: Powdo, tmp_path: Path) -> None:
    """No terminal, two sources, a file that others can read or that is not there: told, nothing imported."""
    file = secret_file(tmp_path / "nsec", _NSEC)
    for arguments, status, told in (
        ((), 2, "there is no terminal to ask on"),
        (("--file", file, "--fd", "0"), 2, "exclude each other"),
        (("--file", str(tmp_path / "none")), 66, "cannot open"),
        (("--fd", "77"), 66, "cannot read descriptor 77"),
        (("--file", file, "--password-file", file), 2, "an nsec has no password"),
    ):
        done = powdo("keys", "import", "ana", *arguments, env=_MASTER, start_new_session=True)
        assert (done.returncode, done.stdout) == (status, b"")
        assert told in done.stderr.decode()
    Path(file).chmod(0o644)
    done = powdo("keys", "import", "ana", "--file", file, env=_MASTER)
    assert (done.returncode, b"others can read" in done.stderr) == (77, True)
    assert powdo("keys", "list").stdout == b""


def test_a_key_is_imported_under_one_name(powdo: Powdo) -> None:
    """A name that has another key, or a key that has another name, is refused."""
    powdo("keys", "new", "ana", env=_MASTER)
    done = powdo("keys", "import", "ana", "--fd", "0", stdin=_NSEC.encode(), env=_MASTER)
    assert (done.returncode, b"'ana' has a key already" in done.stderr) == (77, True)
    powdo("keys", "import", "bob", "--fd", "0", stdin=_NSEC.encode(), env=_MASTER)
    done = powdo("keys", "import", "cy", "--fd", "0", stdin=_NSEC.encode(), env=_MASTER)
    assert (done.returncode, b"in custody already, as that of 'bob'" in done.stderr) == (77, True)


# --- export ------------------------------------------------------------------------------------------


@pytest.fixture
def imported(powdo: Powdo) -> Powdo:
    """Return powdo with our key in custody as that of ana."""
    assert powdo("keys", "import", "ana", "--fd", "0", stdin=_NSEC.encode(), env=_MASTER).returncode == 0
    return powdo


def test_an_nsec_leaves_only_when_a_person_says_so(imported: Powdo) -> None:
    """Export asks on the terminal; a no, or no terminal, writes nothing; --yes is a yes."""
    for answer, status, out in (("y", 0, f"{_NSEC}\n"), ("n", 2, ""), ("", 2, "")):
        said = answered(imported, "keys", "export", "ana", answers=[("[y/N] ", answer)], env=_MASTER)
        assert (said.status, said.stdout.decode()) == (status, out)
        assert _NPUB in said.terminal
    done = imported("keys", "export", "ana", env=_MASTER, start_new_session=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"hint: --yes does not ask" in done.stderr
    done = imported("keys", "export", "ana", "--yes", env=_MASTER)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{_NSEC}\n", b"")


def test_an_ncryptsec_opens_with_the_password_that_was_typed(imported: Powdo) -> None:
    """The password is asked for twice, unseen; two that differ write nothing."""
    arguments = ("keys", "export", "ana", "--ncryptsec", "--log-n", "16")
    answers = [("[y/N] ", "yes"), ("characters or more: ", "pä55wört"), ("the same again: ", "pä55wört")]
    said = answered(imported, *arguments, answers=answers, env=_MASTER)
    assert said.status == 0
    assert nip49.decrypt(said.stdout.decode().strip(), "pä55wört") == _KEY.secret_bytes()
    assert "55" not in said.terminal
    answers[2] = ("the same again: ", "other")
    said = answered(imported, *arguments, answers=answers, env=_MASTER)
    assert (said.status, said.stdout) == (2, b"")
    assert b"the passwords differ" in said.stderr


def test_an_ncryptsec_is_written_without_a_terminal(imported: Powdo, tmp_path: Path) -> None:
    """With --yes and a password file it is a backup that a script can make; by default 2^18 rounds."""
    password = secret_file(tmp_path / "password", "passw0rd")
    done = imported("keys", "export", "ana", "--ncryptsec", "--yes", "--password-file", password, env=_MASTER)
    text = done.stdout.decode().strip()
    assert nip49.bech32.decode(text, "ncryptsec")[1] == 18
    assert nip49.decrypt(text, "passw0rd") == _KEY.secret_bytes()
    for arguments in (("--password-file", password), ("--log-n", "16")):
        done = imported("keys", "export", "ana", "--yes", *arguments, env=_MASTER)
        assert (done.returncode, done.stdout) == (2, b"")


#: The last is eight code points until scrypt is given it.
_TOO_SHORT = ("", "       ", "seven77", "pa\u0308sswor")


@pytest.mark.parametrize("password", _TOO_SHORT)
def test_a_new_password_that_is_soon_guessed_is_refused(
    imported: Powdo, tmp_path: Path, password: str
) -> None:
    """77 on the terminal, before it is asked for again, and from a file: the bound is told, no more."""
    arguments = ("keys", "export", "ana", "--ncryptsec", "--log-n", "16")
    answers = [("[y/N] ", "yes"), ("characters or more: ", password)]
    typed = answered(imported, *arguments, answers=answers, env=_MASTER)
    file = secret_file(tmp_path / "password", password)
    read = imported(*arguments, "--yes", "--password-file", file, env=_MASTER)
    assert (typed.status, typed.stdout, read.returncode, read.stdout) == (77, b"", 77, b"")
    for told in (typed.stderr, read.stderr):
        assert b"fewer than 8 characters" in told
        assert b"hint: nothing was written" in told
        assert not password.strip() or password.encode() not in told


def test_eight_characters_make_a_password(imported: Powdo, tmp_path: Path) -> None:
    """As many as scrypt is given count: a ligature is two, and what it makes is imported again."""
    file = secret_file(tmp_path / "password", "ﬁsh fry")
    arguments = ("--ncryptsec", "--log-n", "16", "--yes", "--password-file", file)
    done = imported("keys", "export", "ana", *arguments, env=_MASTER)
    assert (done.returncode, done.stderr) == (0, b"")
    again = ("keys", "import", "ana", "--fd", "0", "--password-file", file)
    assert imported(*again, stdin=done.stdout, env=_MASTER).stdout.decode() == f"{_NPUB}\n"


# --- delete and audit --------------------------------------------------------------------------------


def test_a_key_is_deleted_for_good(imported: Powdo, own_world: Path) -> None:
    """Delete asks, then nothing but npub and dates is left; it is listed, and cannot be used or made anew."""
    dry = json.loads(imported("keys", "delete", "ana", "-n", env=_MASTER).stdout)
    assert dry["nostr"]["deleted_at"]
    before = json.loads((own_world / "data" / "keystore.json").read_text())["users"][0]["nostr"]
    said = answered(imported, "keys", "delete", "ana", answers=[("[y/N] ", "n")], env=_MASTER)
    assert (said.status, b"nothing was deleted" in said.stderr) == (2, True)
    assert imported("keys", "export", "ana", "--yes", env=_MASTER).returncode == 0
    said = answered(imported, "keys", "delete", "ana", answers=[("[y/N] ", "y")], env=_MASTER)
    assert (said.status, said.stdout, said.stderr) == (0, b"", b"")
    stored = b"".join(path.read_bytes() for path in (own_world / "data").iterdir())
    assert not any(before[name].encode() in stored for name in PARTS)
    assert _NPUB.encode() in stored
    (record,) = [json.loads(line) for line in imported("keys", "list", "--json").stdout.splitlines()]
    assert set(record["nostr"]) == {"npub", "created_at", "deleted_at"}
    done = imported("keys", "export", "ana", "--yes", env=_MASTER)
    assert (done.returncode, b"was deleted on" in done.stderr) == (77, True)
    assert imported("keys", "new", "ana", env=_MASTER).returncode == 77
    assert imported("keys", "delete", "ana", "--yes", env=_MASTER).returncode == 0
    assert imported("keys", "audit", env=_MASTER).returncode == 0


def test_deleting_the_own_identity_is_warned_of(imported: Powdo, own_world: Path) -> None:
    """A key that the configuration names is told as such before it is deleted."""
    (own_world / "powdo.toml").write_text('[identity]\nuser = "ana"\n')
    (own_world / "powdo.toml").chmod(0o600)
    done = imported("keys", "delete", "ana", "--yes", env=_MASTER)
    assert b"warning: 'ana' is the key that [identity]" in done.stderr


def test_an_audit_ends_in_76_with_every_fault(powdo: Powdo, own_world: Path) -> None:
    """A sound keystore says nothing; each damaged record is told, and a keystore that is none at all too."""
    powdo("keys", "new", "ana", "bob", "cy", env=_MASTER)
    done = powdo("keys", "audit", env=_MASTER)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    path = own_world / "data" / "keystore.json"
    content = json.loads(path.read_text())
    content["users"][0]["nostr"]["npub"] = _NPUB
    content["users"][2]["nostr"]["nsec_iv"] = content["users"][1]["nostr"]["nsec_iv"]
    path.write_text(json.dumps(content))
    done = powdo("keys", "audit", env=_MASTER)
    assert (done.returncode, done.stdout) == (76, b"")
    lines = done.stderr.decode().splitlines()
    assert lines == [
        "powdo keys audit: error: the record of 'ana' holds another key than its npub says",
        "powdo keys audit: error: the record of 'cy' in the keystore is damaged",
        "powdo keys audit: error: 'bob' and 'cy' share an IV",
    ]
    path.write_text(path.read_text()[:200])
    done = powdo("keys", "audit", env=_MASTER)
    assert (done.returncode, b"is damaged" in done.stderr) == (76, True)
    done = powdo("keys", "show", "ana")
    assert (done.returncode, b"hint: it was changed by hand or cut off" in done.stderr) == (78, True)


# --- rotate-master -----------------------------------------------------------------------------------


def test_the_master_key_is_rotated(powdo: Powdo, own_world: Path, tmp_path: Path) -> None:
    """The nsecs' ciphertexts stay, only the new master key opens, and a second run changes nothing."""
    powdo("keys", "new", "ana", "bob", env=_MASTER)
    path, new = own_world / "data" / "keystore.json", secret_file(tmp_path / "new", _OTHER)
    before = json.loads(path.read_text())["users"]
    done = powdo("keys", "rotate-master", "--new-key-file", new, env=_MASTER)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"2 keys open with the master key in" in done.stderr
    assert b"put it where the master key comes from" in done.stderr
    rotated = path.read_bytes()
    for old, record in zip(before, json.loads(rotated)["users"], strict=True):
        same = {name for name in old["nostr"] if old["nostr"][name] == record["nostr"][name]}
        assert same == {"npub", "encrypted_nsec", "nsec_iv", "nsec_tag", "created_at"}
    assert powdo("keys", "audit", env=_MASTER).returncode == 77
    assert powdo("keys", "audit", env={"NSEC_MASTER_KEY": _OTHER}).returncode == 0
    again = powdo("keys", "rotate-master", "--new-key-file", new, env=_MASTER)
    assert (again.returncode, b"nothing was changed" in again.stderr) == (0, True)
    assert path.read_bytes() == rotated


@pytest.mark.parametrize(
    ("text", "mode", "status", "told"),
    [
        ("0f" * 32, 0o600, 2, "is the one in use"),
        ("short", 0o600, 77, "not 64 hex digits"),
        (_OTHER, 0o644, 77, "others can read"),
    ],
)
def test_a_bad_new_master_key_changes_nothing(
    powdo: Powdo, own_world: Path, tmp_path: Path, text: str, mode: int, status: int, told: str
) -> None:
    """The one in use, one that is none, and one that others can read are refused."""
    powdo("keys", "new", "ana", env=_MASTER)
    before = (own_world / "data" / "keystore.json").read_bytes()
    new = Path(secret_file(tmp_path / "new", text))
    new.chmod(mode)
    done = powdo("keys", "rotate-master", "--new-key-file", str(new), env=_MASTER)
    assert (done.returncode, told in done.stderr.decode()) == (status, True)
    assert text not in done.stderr.decode() or text == "short"
    missing = powdo("keys", "rotate-master", "--new-key-file", str(tmp_path / "none"), env=_MASTER)
    assert missing.returncode == 77
    assert (own_world / "data" / "keystore.json").read_bytes() == before


def test_a_rotation_killed_at_any_call_leaves_all_old_or_all_new(
    powdo: Powdo, own_world: Path, tmp_path: Path
) -> None:
    """Killed as it enters each call that changes the disk, the keystore opens whole with one master key."""
    need(shutil.which("strace"), "strace")
    store = Keystore(own_world / "data" / "keystore.json")
    names, old, new = [f"user-{n}" for n in range(40)], bytes.fromhex(_MASTER["NSEC_MASTER_KEY"]), _OTHER
    store.create_all(names, old)
    before = (own_world / "data" / "keystore.json").read_bytes()
    key = secret_file(tmp_path / "new", new)
    outcomes = []
    for call in ("openat", "write", "fsync", "rename", "unlink"):
        for number in range(1, 400):
            if call == "openat" and number > 1:
                break
            (own_world / "data" / "keystore.json").write_bytes(before)
            rule = f"inject={call}:signal=SIGKILL:when={number}"
            traced = ["strace", "-f", "-qqq", "-o", os.devnull, f"--trace={call}", "-e", rule]
            arguments = [*traced, *powdo.command, "keys", "rotate-master", "--new-key-file", key]
            done = subprocess.run(
                arguments, env=powdo.environment(_MASTER), capture_output=True, check=False, timeout=60
            )
            opened = set()
            for name in names:
                try:
                    store.unlock(name, old).wipe()
                    opened.add("old")
                except WrongMasterError:
                    store.unlock(name, bytes.fromhex(new)).wipe()
                    opened.add("new")
            assert len(opened) == 1, (call, number)
            outcomes.append((done.returncode, *opened))
            if done.returncode == 0:
                break
    killed = {outcome for status, outcome in outcomes if status in (-signal.SIGKILL, 128 + signal.SIGKILL)}
    assert killed == {"old", "new"}
    assert not list((own_world / "data").glob(".keystore.json.*")) or store.create("late", bytes.fromhex(new))


def test_progress_is_shown_on_demand(powdo: Powdo, own_world: Path, tmp_path: Path) -> None:
    """SIGUSR1 makes a long rotation or audit say how far it is."""
    store = Keystore(own_world / "data" / "keystore.json")
    store.create_all([f"user-{number}" for number in range(3000)], bytes.fromhex(_MASTER["NSEC_MASTER_KEY"]))
    process = powdo.start("keys", "audit", env=_MASTER)
    said = b""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        stat = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(next(line for line in stat.splitlines() if line.startswith("SigCgt")).split()[1], 16)
        if caught >> (signal.SIGUSR1 - 1) & 1:
            process.send_signal(signal.SIGUSR1)
            break
        time.sleep(0.005)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"records: " in said
