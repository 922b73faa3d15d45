"""`powdo event relays` and `servers`: where a user is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.event.group import Action, act, action_options, event
from powdo.options import Run, command

if TYPE_CHECKING:
    from powdo.commands.event.signer import Signer
    from powdo.nips.actions import Draft


@command(
    "relays",
    parent=event,
    epilog="powdo event relays --user ana --relay wss://relay.example | powdo publish\n"
    "powdo event relays --user ana --inbox wss://relay.example | powdo publish",
)
@click.option("--relay", multiple=True, metavar="URL", help="A relay to write to and to read from.")
@click.option("--read", multiple=True, metavar="URL", help="A relay to read from only.")
@click.option("--write", multiple=True, metavar="URL", help="A relay to write to only.")
@click.option("--inbox", multiple=True, metavar="URL", help="A relay where gift wraps are looked for.")
@action_options
def relays(run: Run, **flags: Any) -> None:
    """Write a list of relays (kind 10002), and one of inbox relays (10050) where --inbox is given.

    Without any, both of the relays that are configured. Each replaces the one before.
    """
    from powdo.commands.event.signer import texts
    from powdo.nips.actions import INBOX, RELAYS

    fields = dict.fromkeys(("relay", "read", "write", "inbox"), texts)
    act(run, Action((RELAYS, INBOX), fields, _relay_lists), **flags)


def _relay_lists(fields: dict[str, Any], signer: Signer) -> Iterator[Draft]:
    from powdo.nips import actions

    checked = {name: _checked(urls, ("ws",)) for name, urls in fields.items()}
    if not checked:
        checked = dict.fromkeys(("relay", "inbox"), signer.run.settings.relays())
    listed = {name: checked.get(name, ()) for name in ("relay", "read", "write")}
    if any(listed.values()):
        yield actions.relays(both=listed["relay"], read=listed["read"], write=listed["write"])
    if checked.get("inbox"):
        yield actions.inbox(checked["inbox"])


@command(
    "servers",
    parent=event,
    epilog="powdo event servers --user ana --server https://blossom.example | powdo publish",
)
@click.option("--server", multiple=True, metavar="URL", help="A Blossom server; the most trusted one first.")
@action_options
def servers(run: Run, **flags: Any) -> None:
    """Write a list of Blossom servers (kind 10063); it replaces the one before.

    Without --server those of [worker].
    """
    from powdo.commands.event.signer import texts
    from powdo.nips import actions

    def make(fields: dict[str, Any], signer: Signer) -> Iterator[Draft]:
        given = _checked(fields.get("server", ()), ("http",))
        yield actions.servers(given or signer.run.settings.worker.blossom)

    act(run, Action((actions.SERVERS,), {"server": texts}, make), **flags)


def _checked(urls: tuple[str, ...], schemes: tuple[str, ...]) -> tuple[str, ...]:
    """Return *urls* if they can be used. Raises: BadRecordError."""
    from powdo.errors import BadRecordError, ConfigurationError
    from powdo.settings.units import check_url

    try:
        return tuple(check_url(url, schemes) for url in urls)
    except ConfigurationError as error:
        raise BadRecordError(error.message, hint=error.hint) from None
