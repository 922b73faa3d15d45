"""Where secrets come from."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from powdo.errors import KeyRejectedError
from powdo.settings import environment, load
from powdo.settings.secrets import SecretSource


def _source(**changes: object) -> SecretSource:
    values: dict[str, object] = {
        "label": "Kimai token", "variable": "POWDO_KIMAI_TOKEN", "credential": "kimai-token", "file": None,
        "command": None, "hint": "make one",
    }  # fmt: skip
    return SecretSource(**(values | changes))


def _secret(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def test_the_sources_count_in_their_order(tmp_path: Path, monkeypatch):
    """Variable, then file variable, then systemd's credential, then command, then configured file."""
    source = _source(command="echo from-command", file=_secret(tmp_path / "file", "from-file"))
    monkeypatch.setenv("POWDO_KIMAI_TOKEN", "from-variable")
    monkeypatch.setenv("POWDO_KIMAI_TOKEN_FILE", str(_secret(tmp_path / "named", "from-named")))
    monkeypatch.setenv(
        "CREDENTIALS_DIRECTORY", str(_secret(tmp_path / "c" / "kimai-token", "from-systemd").parent)
    )
    assert source.read(environment.variables()) == "from-variable"
    environment._secrets.clear()
    assert source.read(environment.variables()) == "from-named"
    monkeypatch.delenv("POWDO_KIMAI_TOKEN_FILE")
    assert source.read(environment.variables()) == "from-systemd"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert source.read(environment.variables()) == "from-command"
    assert _source(file=source.file).read({}) == "from-file"


def test_no_source_is_told_with_its_hint():
    """Without any source the error says what is missing and how to make it."""
    with pytest.raises(KeyRejectedError, match="no Kimai token") as caught:
        _source(file=Path("/nowhere/at/all")).read({})
    assert caught.value.hint == "make one"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "ended with status 1"),
        ("true", "wrote nothing"),
        ("no-such-program-at-all", "cannot run the command"),
        ("echo 'open", "cannot run the command"),
    ],
)
def test_a_command_that_fails_is_no_reason_to_try_the_next_source(tmp_path: Path, command, message):
    """A source that is set and fails is an error."""
    with pytest.raises(KeyRejectedError, match=message):
        _source(command=command, file=_secret(tmp_path / "file", "other")).read({})


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path):
    """A file variable that points nowhere is told, not skipped."""
    with pytest.raises(KeyRejectedError, match="cannot read the secret file"):
        _source(command="echo x").read({"POWDO_KIMAI_TOKEN_FILE": str(tmp_path / "no")})


def test_a_server_has_a_secret_when_any_source_is_named(tmp_path: Path, own_world: Path, monkeypatch):
    """Without a source the admin API is off; one that is named must hold a secret; the flag comes first."""
    config = own_world / "powdo.toml"
    config.touch(0o600)
    assert load().served_admin_secret(None) is None
    config.write_text(f"[relay]\nadmin_secret_file = '{tmp_path / 'no'}'\n")
    with pytest.raises(KeyRejectedError, match="no' is not there"):
        load().served_admin_secret(None)
    _secret(tmp_path / "no", "from-file")
    assert load().served_admin_secret(None) == "from-file"
    monkeypatch.setenv("NOSTR_RELAY_ADMIN_SECRET", "from-variable")
    assert load().served_admin_secret(None) == "from-variable"
    assert load().served_admin_secret(_secret(tmp_path / "flag", "from-flag")) == "from-flag"
    with pytest.raises(KeyRejectedError):
        load().served_admin_secret(tmp_path / "missing")


def test_the_command_sees_no_secret_and_no_records(monkeypatch):
    """The command has an empty stdin, and an environment without our secrets."""
    monkeypatch.setenv("NSEC_MASTER_KEY", "ab" * 32)
    environment.variables()
    program = "import os, sys; print('NSEC_MASTER_KEY' in os.environ, len(sys.stdin.read()))"
    command = shlex.join([sys.executable, "-c", program])
    assert _source(command=command).read({}) == "False 0"
    assert environment.secret("NSEC_MASTER_KEY") == "ab" * 32
    assert "NSEC_MASTER_KEY" not in os.environ


@pytest.mark.parametrize(
    ("address", "left"),
    [
        ("socks5h://ana:pass@127.0.0.1:9050", "socks5h://127.0.0.1:9050"),
        ("http://ana:p@ss://w/ord@[::1]:3128/", "http://[::1]:3128/"),
        ("ana:pass@127.0.0.1:9050", "127.0.0.1:9050"),
        ("socks5h://127.0.0.1:9050", "socks5h://127.0.0.1:9050"),
        ("", ""),
    ],
)
def test_the_command_sees_the_proxy_and_not_its_password(monkeypatch, address, left):
    """The address stays for a child, so that none goes without the proxy; user and password are ours."""
    monkeypatch.setenv("POWDO_PROXY", address)
    program = "import os; print(repr(os.environ['POWDO_PROXY']))"
    environment.variables()
    assert _source(command=shlex.join([sys.executable, "-c", program])).read({}) == repr(left)
    assert environment.proxy_address() == (address or None)
    monkeypatch.setenv("POWDO_PROXY", "http://another.example:1")
    assert environment.proxy_address() == "http://another.example:1"
