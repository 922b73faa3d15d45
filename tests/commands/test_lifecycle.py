"""Users of a community: created, deactivated, deleted; each step once, whatever cut the last run off."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from allow_relay import SECRET, AdminRelay
from relay_helpers import ask, relay_thread

from powdo.adapters.database import Store
from powdo.adapters.keystore import Keystore
from powdo.adapters.outbox import Outbox
from powdo.custody import is_deleted
from powdo.nips.bech32 import decode_npub, encode_npub
from powdo.nips.curve import SecretKey
from powdo.servers.relay.policy import Policy

Powdo = Any
MASTER = "0f" * 32
IDENTITY = encode_npub(SecretKey(b"\x06" * 32).pubkey)
ACCESS = SecretKey(b"\x08" * 32).pubkey


class Community:
    """An operator's folder, a relay for events, and one whose allowlist is told."""

    def __init__(self, world: Path, powdo: Powdo, relay: str, admin: AdminRelay) -> None:
        self.world = world
        self.powdo = powdo
        self.relay = relay
        self.admin = admin
        self.keystore = Keystore(world / "data" / "keystore.json")
        self.dvm = self.keystore.create("dvm", bytes.fromhex(MASTER))
        self.configure(relay)

    def configure(self, relay: str) -> None:
        """Write the configuration."""
        (self.world / "powdo.toml").write_text(
            f'[identity]\nuser = "dvm"\n[dvm]\nrelays = ["{relay}"]\n[allow]\nurl = "{self.admin.url}"\n'
        )
        (self.world / "powdo.toml").chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        """Return what a process needs besides."""
        return {"NSEC_MASTER_KEY": MASTER, "NOSTR_RELAY_ADMIN_SECRET": SECRET}

    def run(self, *arguments: str, **env: str) -> tuple[int, str]:
        """Return status and what was said."""
        done = self.powdo(*arguments, env=self.environment | env)
        return done.returncode, done.stderr.decode()

    def pubkey(self, name: str) -> str:
        """Return the pubkey of *name* in custody."""
        return decode_npub(self.keystore.get(name)["nostr"]["npub"])

    def user(self, name: str = "ana") -> dict[str, Any]:
        """Return the worker as `users show --json` tells."""
        found: dict[str, Any] = json.loads(
            self.powdo("users", "show", name, "--json", env=self.environment).stdout
        )
        return found

    def profiles(self, name: str = "ana") -> list[dict[str, Any]]:
        """Return the contents of the profiles that the relay has of *name*."""
        ids = ask(self.relay, {"kinds": [0], "authors": [self.pubkey(name)]})
        outbox = Outbox(self.world / "state")
        kept = outbox.signed(f"0:{self.pubkey(name)}:")
        outbox.close()
        assert kept is not None
        return [json.loads(kept["content"]) for found in ids if found == kept["id"]]


@pytest.fixture
def community(own_world: Path, powdo: Powdo, tmp_path: Path) -> Iterator[Community]:
    """Return a community."""
    with relay_thread(tmp_path / "relay", Policy(allowed=(), open=True)) as relay, AdminRelay() as admin:
        yield Community(own_world, powdo, relay, admin)


ADD = ("users", "add", "--name", "ana", "--create-key")


def test_a_user_is_created_whole(community: Community) -> None:
    """Key made, enrolled under it, let in by the relay, profile there, all in silence; again no change."""
    assert community.run(*ADD, "--about", "Works at night") == (0, "")
    pubkey = community.pubkey("ana")
    assert community.user()["access"] == [encode_npub(pubkey)]
    assert community.user()["npubs"] == []
    assert community.admin.pubkeys == {pubkey}
    assert community.profiles() == [{"name": "ana", "about": "Works at night"}]
    before = ask(community.relay, {})
    assert community.run(*ADD) == (0, "")
    assert ask(community.relay, {}) == before
    assert community.pubkey("ana") == pubkey


def test_a_profile_changes_where_it_is_told_to(community: Community) -> None:
    """A later --picture leaves the rest of the profile as it is, and replaces it at once."""
    community.run(*ADD, "--about", "x")
    assert community.run(*ADD, "--picture", "https://a.example/p.png") == (0, "")
    assert community.profiles() == [{"name": "ana", "about": "x", "picture": "https://a.example/p.png"}]
    assert len(ask(community.relay, {"kinds": [0]})) == 1


def test_a_worker_with_an_own_identity_may_have_a_key_in_custody(community: Community) -> None:
    """The npub that is given is the identity, of which the relay hears nothing; it knows the key made."""
    assert community.run(*ADD, IDENTITY) == (0, "")
    assert community.user()["npubs"] == [IDENTITY]
    assert community.admin.pubkeys == {community.pubkey("ana")}
    assert ask(community.relay, {"authors": [decode_npub(IDENTITY)]}) == []


@pytest.mark.parametrize("dry", [(), ("-n",)])
@pytest.mark.parametrize("given", ["before", "with it"])
def test_a_worker_with_an_own_access_key_gets_no_second_one(
    community: Community, given: str, dry: tuple[str, ...]
) -> None:
    """2 and what to do; no key is made, the worker, the relay's list and profiles stay as they were."""
    access, flags = encode_npub(ACCESS), ("--access", encode_npub(ACCESS))
    if given == "before":
        assert community.run("users", "add", IDENTITY, "--name", "ana", *flags) == (0, "")
        flags = ()
    asked, workers = list(community.admin.asked), community.powdo("users", "list", "--json").stdout
    for _ in range(2):
        status, said = community.run(*ADD, "--about", "x", *flags, *dry)
        assert (status, access in said, "hint: leave out --create-key" in said) == (2, True, True)
    assert [record["username"] for record in community.keystore.records()] == ["dvm"]
    assert community.powdo("users", "list", "--json").stdout == workers
    assert community.admin.asked == asked
    assert ask(community.relay, {}) == []


def test_a_user_in_custody_may_be_given_an_access_key_besides(community: Community) -> None:
    """Asked for by --access it is a second one; the command that made the key stays harmless then."""
    community.run(*ADD)
    assert community.run("users", "add", "--name", "ana", "--access", encode_npub(ACCESS)) == (0, "")
    before = community.user()
    assert len(before["access"]) == 2
    assert community.run(*ADD) == (0, "")
    assert community.user() == before


def test_a_removed_user_is_off_the_list_and_may_come_back(community: Community) -> None:
    """Deactivated: the key stays in custody and is not let in, by a sync neither; added again it is."""
    community.run(*ADD)
    pubkey = community.pubkey("ana")
    assert community.run("users", "remove", "ana") == (0, "")
    assert community.admin.pubkeys == set()
    assert not is_deleted(community.keystore.get("ana"))
    assert community.run("allow", "sync")[0] == 0
    assert pubkey not in community.admin.pubkeys
    assert community.run(*ADD) == (0, "")
    assert pubkey in community.admin.pubkeys


def test_a_deleted_user_leaves_an_orphan(community: Community) -> None:
    """Deleted: off the list, key zeroed, npub kept; the name gets no other key; twice does no harm."""
    community.run(*ADD)
    for _ in range(2):
        assert community.run("users", "remove", "ana", "--delete-key", "--yes") == (0, "")
        assert community.admin.pubkeys == set()
        record = community.keystore.get("ana")
        assert is_deleted(record)
        assert record["nostr"]["npub"] == community.user()["access"][0]
        assert community.user()["removed"] is True
    status, said = community.run(*ADD)
    assert status == 77
    assert "the key of 'ana' was deleted" in said
    assert community.user()["removed"] is True


def test_a_key_is_deleted_only_when_a_person_says_so(community: Community) -> None:
    """Without --yes and a terminal nothing is deleted, and the user stays."""
    community.run(*ADD)
    status, said = community.run("users", "remove", "ana", "--delete-key")
    assert (status, "nobody can be asked here" in said) == (2, True)
    assert not is_deleted(community.keystore.get("ana"))
    assert community.user()["removed"] is False
    assert community.run("users", "remove", "ana", "--yes")[0] == 2
    assert community.run("users", "remove", "bob", "--delete-key", "--yes")[0] == 2


def test_relays_that_are_away_are_told_later(community: Community) -> None:
    """75, and the user is there; `allow flush` and `publish --pending` bring the relays in step."""
    community.admin.weather = "gone"
    community.configure("ws://127.0.0.1:9")
    status, said = community.run(*ADD)
    assert status == 75
    assert "the relay does not know yet" in said
    assert "the profile is not published yet" in said
    assert community.user()["removed"] is False
    community.admin.weather = "fine"
    community.configure(community.relay)
    assert community.run("allow", "flush") == (0, "")
    assert community.run("publish", "--pending")[0] == 0
    assert community.admin.pubkeys == {community.pubkey("ana")}
    assert community.profiles() == [{"name": "ana"}]


def test_nostr_switched_off_keeps_it_at_home(community: Community) -> None:
    """NOSTR_ENABLED=false: the user is made, and nobody is told; later the same command tells."""
    status, said = community.run(*ADD, NOSTR_ENABLED="false")
    assert (status, "no profile is published" in said) == (0, True)
    assert community.admin.asked == []
    assert ask(community.relay, {}) == []
    assert community.run(*ADD) == (0, "")
    assert community.profiles() == [{"name": "ana"}]
    assert community.admin.pubkeys == {community.pubkey("ana")}


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ((*ADD[:3], "nsec1vl029mg", "--create-key"), 65, "cannot name"),
        (("users", "add", "--name", "ana", "--about", "x"), 2, "signed with a key in custody"),
        ((*ADD, "npub1nonsense"), 2, "bech32"),
        ((*ADD, "--timezone", "Mars"), 2, "not a time zone"),
        ((*ADD, "--access", IDENTITY, IDENTITY), 2, "already"),
    ],
)
def test_what_makes_no_sense_makes_no_key(
    community: Community, arguments: tuple[str, ...], status: int, told: str
) -> None:
    """A bad name, npub, zone or flag is told before anything is made."""
    found, said = community.run(*arguments)
    assert (found, told in said) == (status, True)
    assert [record["username"] for record in community.keystore.records()] == ["dvm"]
    store = Store(f"sqlite:///{community.world / 'state' / 'dvm.sqlite'}")
    assert store.workers() == []
    store.close()
    assert community.admin.asked == []


def test_a_wrong_master_key_is_told_before_anything_is_made(community: Community) -> None:
    """77, no key, no worker, and the relay hears nothing."""
    status, said = community.run(*ADD, NSEC_MASTER_KEY="ff" * 32)
    assert (status, "the master key does not open" in said) == (77, True)
    assert community.keystore.find("ana") is None
    assert community.powdo("users", "list", env=community.environment).stdout == b""


#: Runs powdo and ends the process, as SIGKILL would, when a function is about to be called.
_KILLED = """
import importlib, os, sys
from powdo import cli
module, names = sys.argv[1].split(":")
place = importlib.import_module(module)
*path, name = names.split(".")
for part in path:
    place = getattr(place, part)
def kill(*arguments, **more):
    os._exit(9)
setattr(place, name, kill)
sys.argv = ["powdo", *sys.argv[2:]]
cli.main()
"""


@pytest.mark.parametrize(
    "where",
    [
        "powdo.adapters.keystore:Keystore._write",
        "powdo.admission:tell_of",
        "powdo.admission:tell",
        "powdo.accounts:publish_profile",
        "powdo.publishing:Publisher.handle",
        "powdo.adapters.outbox:Outbox.forget_event",
    ],
)
def test_a_user_whose_making_was_cut_off_is_completed(community: Community, where: str) -> None:
    """Killed before any step, the same command run again ends as if nothing had been, with one profile."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, where, *ADD, "--about", "x"],
        env=community.powdo.environment(community.environment),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    assert community.run(*ADD, "--about", "x") == (0, "")
    pubkey = community.pubkey("ana")
    assert community.user()["access"] == [encode_npub(pubkey)]
    assert community.admin.pubkeys == {pubkey}
    assert community.profiles() == [{"name": "ana", "about": "x"}]
    assert len(ask(community.relay, {"kinds": [0]})) == 1
    assert community.run("publish", "--pending") == (0, "")


@pytest.mark.parametrize(
    "where",
    [
        "powdo.adapters.keystore:_overwrite",
        "powdo.adapters.database.store:Store.remove",
        "powdo.admission:tell_of",
    ],
)
def test_a_user_whose_deleting_was_cut_off_is_deleted_whole(community: Community, where: str) -> None:
    """Killed before any step, the same command run again leaves the orphan, off the list."""
    community.run(*ADD)
    command = ("users", "remove", "ana", "--delete-key", "--yes")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, where, *command],
        env=community.powdo.environment(community.environment),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    assert community.run(*command) == (0, "")
    assert is_deleted(community.keystore.get("ana"))
    assert community.admin.pubkeys == set()
    assert community.user()["removed"] is True


def test_keys_alone_bring_the_relay_in_step_too(community: Community) -> None:
    """`keys new` lets its keys in, `delete` takes them off; of identities the relay hears nothing."""
    assert community.run("keys", "new", "bob") == (0, "")
    assert community.admin.pubkeys == {community.pubkey("bob")}
    assert community.run("keys", "delete", "bob", "--yes") == (0, "")
    assert community.admin.pubkeys == set()
    community.admin.asked.clear()
    (community.world / "powdo.toml").write_text(
        f'[identity]\nuser = "me"\naccess_user = "me-access"\n[allow]\nurl = "{community.admin.url}"\n'
    )
    assert community.run("keys", "new", "me", "me-access") == (0, "")
    assert community.admin.pubkeys == {community.pubkey("me-access")}
    community.admin.asked.clear()
    assert community.run("keys", "delete", "me", "--yes")[0] == 0
    assert community.admin.asked == []
