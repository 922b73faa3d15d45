"""`powdo event delete`: a wish that events be forgotten (NIP-09)."""

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
    "delete",
    parent=event,
    epilog='powdo event delete --user ana --kind 1 "$ID" | powdo publish\n'
    "powdo event delete --user dvm 31923:$(powdo keys show --hex dvm):9f86d081884c7d65 | powdo publish",
)
@click.argument("target", nargs=-1, metavar="[ID|ADDRESS]...")
@click.option(
    "--kind",
    multiple=True,
    type=click.IntRange(0, 65535),
    metavar="N",
    help="The kind of what the ids name; addresses tell theirs.",
)
@click.option("--reason", metavar="TEXT", help="Why.")
@action_options
def delete(run: Run, **flags: Any) -> None:
    """Write the wish that the user's own events be deleted (kind 5).

    An event is named by its id in hex, one that is replaced by KIND:PUBKEY:IDENTIFIER. Relays that heed it
    forget them; whoever has a copy may keep it.
    """
    from powdo.commands.event.signer import numbers, text, texts
    from powdo.nips import actions

    def make(fields: dict[str, Any], signer: Signer) -> Iterator[Draft]:
        targets, kinds = fields.get("target", ()), fields.get("kind", ())
        yield actions.deletion(targets, signer.pubkey, kinds=kinds, reason=fields.get("reason", ""))

    fields = {"target": texts, "kind": numbers, "reason": text}
    act(run, Action((actions.DELETION,), fields, make), **flags)
