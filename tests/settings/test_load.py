"""The configuration: read once, checked whole, all problems told together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from powdo import settings
from powdo.errors import ConfigurationError
from powdo.nips.bech32 import encode_npub
from powdo.nips.curve import SecretKey
from powdo.settings import load, schema

_NPUB = encode_npub(SecretKey(b"\x01" * 32).pubkey)
_FULL = f"""
[identity]
user = "ana"
access_user = "ana-access"
master_key_file = "~/master.key"

[worker]
dvm = "{_NPUB}"
relays = ["wss://one.example/", "ws://127.0.0.1:7777", "wss://one.example"]
fan_out = "wss://public.example"
blossom = ["https://blossom.example"]
hold = "30m"
review = true
expiration = "30d"

[capture]
redact = ["(?i)password"]
deny = "KeePass"
settle = 60

[dvm]
blossom_hosts = ["blossom.example", "http://127.0.0.1:3000"]
max_bundle = "16MiB"
timezone = "Europe/Berlin"
day_start = "4h"

[kimai]
url = "https://kimai.example/"

[timesheets]
merge_gap = "10m"

[relay]
listen = "127.0.0.1:0"
allow = ["{_NPUB}"]

[blossom]
open = true

[[rule]]
name = "powdo"
editor_project = "powdo"
project = "powdo"
activity = "Development"
"""


@pytest.fixture
def config(own_world: Path) -> Path:
    """Return where the configuration of this test lies."""
    return own_world / "powdo.toml"


def test_no_file_is_all_defaults(config: Path, own_world: Path):
    """Without a configuration every setting has its default, and nothing is created."""
    found = load()
    assert found.config_path == config
    assert found.state_dir == own_world / "state"
    assert found.worker == schema.Worker()
    assert (found.worker.proof, found.capture.settle, found.dvm.max_bundle) == (True, 240, 64 << 20)
    assert found.sections == frozenset()
    assert found.database_url == f"sqlite:///{own_world / 'state' / 'dvm.sqlite'}"
    assert not (own_world / "state").exists()


def test_every_value_is_read_in_its_own_form(config: Path, own_world: Path):
    """Durations are seconds, sizes bytes, npubs hex, patterns compiled, hosts origins, paths absolute."""
    config.write_text(_FULL)
    found = load()
    assert found.worker.dvm == SecretKey(b"\x01" * 32).pubkey
    assert found.worker.relays == ("wss://one.example", "ws://127.0.0.1:7777")
    assert found.worker.fan_out == ("wss://public.example",)
    assert (found.worker.hold, found.worker.expiration) == (1800, 30 * 86400)
    assert found.capture.redact[0].search("My PASSWORD")
    assert found.capture.deny[0].pattern == "KeePass"
    assert found.dvm.blossom_hosts == ("https://blossom.example", "http://127.0.0.1:3000")
    assert (found.dvm.max_bundle, found.dvm.day_start) == (16 << 20, 14400)
    assert found.kimai.url == "https://kimai.example"
    assert found.identity.master_key_file == own_world / "home" / "master.key"
    assert [rule.name for rule in found.rules] == ["powdo"]
    assert found.is_operator
    assert found.access_user() == "ana-access"
    with pytest.raises(AttributeError):
        found.worker = schema.Worker()


def test_all_problems_are_told_together(config: Path):
    """Each wrong key, value and section is named with file and section, at once."""
    config.write_text(
        "[worker]\nhodl = 1\nrelays = ['ws://relay.example']\nreview = 'yes'\ndvm = 'npub1xyz'\n"
        "[captur]\n[dvm]\ntimezone = 'Mars/Base'\nmax_bundle = 'big'\n[capture]\nredact = ['(']\n"
        "[[rule]]\nnonsense = 1\n[timesheets]\nminimum = -1\n[relay]\nlisten = '7777'\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load()
    told = "\n".join(caught.value.problems)
    assert all(problem.startswith(f"{config}: ") for problem in caught.value.problems)
    for part in (
        "unknown key 'hodl' in [worker]; did you mean 'hold'?",
        "[worker] relays: 'ws://relay.example' is not encrypted",
        "[worker] review: 'yes' is neither true nor false",
        "[worker] dvm: ",
        "unknown section [captur]; did you mean 'capture'?",
        "[dvm] timezone: 'Mars/Base' is not a time zone",
        "[dvm] max_bundle: 'big' is not a size",
        "[capture] redact: '(' is not a regular expression",
        "nonsense",
        "[timesheets] minimum: '-1' is not a duration",
        "[relay] listen: '7777' is not HOST:PORT",
    ):
        assert part in told
    assert caught.value.message == f"'{config}' has {len(caught.value.problems)} problems"


@pytest.mark.parametrize(
    "content", ["worker = 1", "rule = 1", "[rule]\nname = 'x'", "[worker", "a = \xff", "[worker]\n[worker]"]
)
def test_what_is_no_configuration_is_refused(config: Path, content):
    """Broken TOML, other encodings and sections that are none are configuration errors."""
    config.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert str(config) in caught.value.message


def test_a_configuration_that_others_can_write_is_refused(config: Path):
    """Who can write the configuration can make it run commands, so only the owner may."""
    config.write_text("")
    for mode in (0o620, 0o602, 0o666):
        config.chmod(mode)
        with pytest.raises(ConfigurationError, match="others can write"):
            load()
    config.chmod(0o644)
    load()


def test_a_file_named_by_flag_must_be_there(own_world: Path):
    """--config insists on its file; POWDO_CONFIG names a place where one may be."""
    with pytest.raises(ConfigurationError, match="no such file"):
        load(config=str(own_world / "no.toml"))
    assert load().sections == frozenset()


def test_the_environment_beats_the_file(config: Path, monkeypatch):
    """NOSTR_RELAY_URL and NOSTR_PUBLIC_RELAYS replace the relays of either side, and nothing else."""
    config.write_text(_FULL)
    monkeypatch.setenv("NOSTR_RELAY_URL", "wss://env.example/, wss://second.example,")
    monkeypatch.setenv("NOSTR_PUBLIC_RELAYS", "wss://fan.example")
    found = load()
    assert found.worker.relays == found.dvm.relays == ("wss://env.example", "wss://second.example")
    assert found.worker.fan_out == ("wss://fan.example",)
    assert found.worker.hold == 1800


def test_a_bad_variable_is_told_by_its_name(config: Path, monkeypatch):
    """A problem of the environment is not blamed on the file."""
    monkeypatch.setenv("NOSTR_RELAY_URL", "ws://relay.example")
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert [problem.split(": ")[0] for problem in caught.value.problems] == ["NOSTR_RELAY_URL"]


def test_what_a_command_needs_and_lacks_is_told_with_its_section(config: Path):
    """A missing setting is an error only where it is needed."""
    found = load()
    for needed, text in ((found.user, "'user' in [identity]"), (found.relays, "'relays' in [worker]")):
        with pytest.raises(ConfigurationError) as caught:
            needed()
        assert text in caught.value.message
        assert str(config) in caught.value.message


def test_every_key_of_every_section_refuses_what_it_is_not(config: Path):
    """No key takes a value of a wrong type, or fails in another way than by a told problem."""
    for name, kind in settings._SECTIONS.items():
        for option in schema.readers(kind):
            config.write_text(f"[{name}]\n{option} = {{ a = 1 }}\n")
            with pytest.raises(ConfigurationError) as caught:
                load()
            assert f"[{name}] {option}: " in caught.value.problems[0]


def test_secrets_leave_the_environment(monkeypatch):
    """After the first look no child process inherits a secret."""
    monkeypatch.setenv("NSEC_MASTER_KEY", "ab" * 32)
    monkeypatch.setenv("POWDO_KIMAI_TOKEN", "token")
    monkeypatch.setenv("NOSTR_RELAY_ADMIN_SECRET", "s")
    found = load()
    assert not {"NSEC_MASTER_KEY", "POWDO_KIMAI_TOKEN", "NOSTR_RELAY_ADMIN_SECRET"} & set(os.environ)
    assert found.master_key() == b"\xab" * 32
    assert found.kimai_token() == "token"


def test_the_book_has_the_first_zone_that_is_known(config: Path):
    """A worker's own zone beats their machine's, and that the operator's."""
    config.write_text('[dvm]\ntimezone = "Asia/Tokyo"\n[timesheets]\nmerge_gap = 120\n')
    config.chmod(0o600)
    found = load()
    assert str(found.book((None, "Europe/Berlin", "UTC")).zone) == "Europe/Berlin"
    assert str(found.book((None,)).zone) == "Asia/Tokyo"
    assert found.book(()).limits.merge_gap == 120_000_000


def test_only_a_dvm_goes_without_an_access_key(config: Path):
    """A worker's identity never stands in for the access key."""
    config.write_text('[identity]\nuser = "dvm"\n[dvm]\n')
    config.chmod(0o600)
    assert load().access_user() == "dvm"
    config.write_text('[identity]\nuser = "ana"\n[worker]\n')
    with pytest.raises(ConfigurationError, match="no 'access_user' in"):
        load().access_user()
