"""What a shell offers for the words of a command line: names of keys, workers and captures, files, zones.

A shell that asks has nowhere to show a message, so what cannot be read is not offered. Nothing is made or
unlocked for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from powdo.errors import PowdoError
from powdo.lines import format_time
from powdo.settings import Settings, load

#: Values with what each of them is.
Offer = Iterable[tuple[str, str]]

_MOST = 100
_MOMENTS = ("today", "yesterday", "monday", "7d", "2w")
_FILES = {"FILE": "file", "DIR": "dir", "FOLDER": "dir"}


def equip(command: click.Command) -> click.Command:
    """Return *command* with completions for each of its parameters, by the word it is told with."""
    for item in command.commands.values() if isinstance(command, click.Group) else ():
        equip(item)
    # A name that is there already is nothing to offer for a new one.
    for param in command.params if command.name != "new" else ():
        complete = _completer(param)
        if complete is not None:
            param.shell_complete = complete  # type: ignore[assignment, method-assign]  # what click calls
    return command


def _completer(param: click.Parameter) -> Callable[[click.Context, str], list[CompletionItem]] | None:
    word = re.sub(r"[\[\].]", "", param.metavar or (param.name or "").upper())
    if word in _FILES:
        return lambda ctx, incomplete: [CompletionItem(incomplete, type=_FILES[word])]
    offer = _profiles if param.name == "profile" else _OFFERS.get(word)
    if offer is None:
        return None
    return lambda ctx, incomplete: list(_items(ctx, offer, incomplete))


def _items(
    ctx: click.Context, offer: Callable[[Settings], Offer], incomplete: str
) -> Iterator[CompletionItem]:
    try:
        settings = load(config=ctx.params.get("config"), profile=ctx.params.get("profile"))
        fitting = [(value, what) for value, what in offer(settings) if value.startswith(incomplete)]
    except PowdoError:
        return
    yield from (CompletionItem(value, help=what or None) for value, what in fitting[:_MOST])


def _profiles(settings: Settings) -> Offer:
    folder = settings.config_path.parent / "profiles"
    return [(path.name, "") for path in sorted(folder.iterdir())] if folder.is_dir() else []


def _custody(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the name and npub of each key in custody."""
    from powdo.keyring import keystore

    for record in keystore(settings, create=False).records():
        yield record["username"], record["nostr"]["npub"]


def _workers(settings: Settings) -> list[Any]:
    from powdo.adapters.database.engine import Database
    from powdo.adapters.database.workers import Workers

    if not settings.is_operator:
        return []
    database = Database(settings.database_url, create=False)
    try:
        return Workers(database).workers(disabled=False)
    finally:
        database.close()


def _names(settings: Settings) -> Offer:
    return [*_custody(settings), *((worker.name, "enrolled") for worker in _workers(settings))]


def _npubs(settings: Settings) -> Offer:
    from powdo.nips.bech32 import encode_npub

    enrolled = [
        (encode_npub(pubkey), worker.name)
        for worker in _workers(settings)
        for pubkey in (*worker.pubkeys, *worker.access_pubkeys)
    ]
    return [*((npub, name) for name, npub in _custody(settings)), *enrolled]


def _captures(settings: Settings) -> Offer:
    """Return the ids of the captures in the outbox, the youngest first."""
    from powdo.adapters.outbox import Outbox

    if not (settings.state_dir / "outbox.sqlite").is_file():
        return []
    store = Outbox(settings.state_dir)
    try:
        found = store.entries()
    finally:
        store.close()
    told = ((entry.capture.id, entry.state, entry.capture.begin) for entry in reversed(found))
    return [(name, f"{state}, {format_time(begin)}") for name, state, begin in told]


def _bundles(settings: Settings) -> Offer:
    """Return the sha256 of the youngest bundles that the DVM keeps."""
    from powdo.adapters.database.engine import Database
    from powdo.adapters.database.kept import youngest
    from powdo.worktime.manifest import from_micros

    if not settings.is_operator:
        return []
    database = Database(settings.database_url, create=False)
    try:
        found = youngest(database, _MOST)
        return [(item.sha256, f"{item.worker}, {format_time(from_micros(item.begin_us))}") for item in found]
    finally:
        database.close()


def _zones(_settings: Settings) -> Offer:
    import zoneinfo

    return [(name, "") for name in sorted(zoneinfo.available_timezones())]


def _moments(_settings: Settings) -> Offer:
    return [(word, "") for word in _MOMENTS]


_OFFERS: dict[str, Callable[[Settings], Offer]] = {
    "NAME": _names,
    "NPUB": _npubs,
    "ID": _captures,
    "BUNDLE": _bundles,
    "TZ": _zones,
    "T": _moments,
}
