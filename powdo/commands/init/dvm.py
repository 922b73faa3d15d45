"""What a DVM's set-up asks for: relays, hosts, Kimai with its token, and the first worker."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from powdo.commands.init import files
from powdo.commands.init.conversation import Conversation
from powdo.errors import PowdoError
from powdo.run import Run
from powdo.settings import Settings
from powdo.settings.units import check_url

_TIMEOUT = 10.0


class Wanted(NamedTuple):
    """What the flags said."""

    name: str
    relays: tuple[str, ...]
    blossom: tuple[str, ...]
    database: str | None
    kimai: str | None
    token_file: Path | None


Agreed = Callable[[Run, Any, str, list[str]], Settings]


def new_operator(run: Run, talk: Conversation, wanted: Wanted, agreed: Agreed) -> Settings:
    """Write an operator's configuration and return its settings."""
    relays = wanted.relays or talk.many("the relays to listen at", lambda text: check_url(text, ("ws",)))
    blossom = wanted.blossom or talk.many(
        "the Blossom servers that bundles may lie on", lambda text: check_url(text, ("http",))
    )
    database = wanted.database or talk.ask("the database's URL (empty: a SQLite file)", str)
    kimai = wanted.kimai or talk.ask("Kimai's URL (empty: none yet)", lambda text: check_url(text, ("http",)))
    identity: list[tuple[str, Any]] = [("user", wanted.name)]
    dvm: list[tuple[str, Any]] = [("relays", list(relays)), ("blossom_hosts", list(blossom))]
    if database:
        identity.append(("keystore", "database"))
        dvm.append(("database", database))
    sections = [files.section("identity", identity), files.section("dvm", dvm)]
    if kimai:
        token_file = wanted.token_file or files.configuration(run).parent / "kimai.token"
        sections.append(files.section("kimai", [("url", kimai), ("token_file", str(token_file))]))
    missing = [f"[dvm] {key}" for key, value in dvm if not value]
    settings = agreed(run, talk, files.content(sections), missing)
    if kimai and not wanted.token_file:
        _take_token(run, talk, settings)
    return settings


def _take_token(run: Run, talk: Conversation, settings: Settings) -> None:
    """Ask for Kimai's token, try it, and keep it in the file that the configuration names."""
    from powdo.custody import wipe
    from powdo.terminal import ask_secret

    path = settings.kimai.token_file
    assert path is not None
    if path.exists():
        return
    if not talk.open:
        run.console.warning(f"'{path}' is to hold Kimai's token", hint="write it there with mode 0600")
        return
    answer = ask_secret("Kimai's API token (it is not shown)", hint="write it by hand")
    token = answer.decode("utf-8", "replace").strip()
    wipe(answer)
    if not token:
        return
    try:
        _introduce(run, settings, token)
    except PowdoError as error:
        run.console.warning(error.message, hint=error.hint)
    files.secret_file(run, path, "Kimai's token", token)


def _introduce(run: Run, settings: Settings, token: str) -> None:
    """Say which Kimai answers, and whose the token is. Raises: PowdoError."""
    from powdo.adapters.kimai.client import Client

    assert settings.kimai.url is not None
    client = Client(
        settings.kimai.url,
        token,
        timeout=_TIMEOUT,
        warn=lambda text, hint: run.console.warning(text, hint=hint),
    )
    with closing(client):
        run.console.note(f"Kimai {client.account.version} knows the token as {client.account.username}'s")


def announce(run: Run, settings: Settings) -> None:
    """Say what workers are to be told: the DVM's key with its relays."""
    from powdo.keyring import keystore
    from powdo.nips.bech32 import decode_npub
    from powdo.nips.nprofile import Profile, encode_nprofile

    record = keystore(settings).get(settings.user())
    profile = Profile(decode_npub(record["nostr"]["npub"]), settings.dvm.relays)
    run.console.note(f"tell workers: {encode_nprofile(profile)}")


def first_worker(run: Run, talk: Conversation, settings: Settings) -> None:
    """Enroll the first worker, if nobody is and a person names one."""
    from powdo.adapters.database.workers import Workers
    from powdo.nips.bech32 import parse_pubkey

    if not talk.open:
        return
    workers = Workers(settings.database_url)
    if workers.workers():
        return
    npub = talk.ask("the first worker's npub (empty: later, with powdo users add)", parse_pubkey)
    if npub is None:
        return
    name = talk.ask("the worker's name", str) or "worker"
    access = talk.ask("the npub of the worker's access key (empty: later)", parse_pubkey)
    try:
        workers.enroll(name, pubkeys=[npub], access=[access] if access else [])
    except PowdoError as error:
        run.console.warning(error.message, hint=error.hint)
        return
    run.console.note(f"enrolled {name}")
