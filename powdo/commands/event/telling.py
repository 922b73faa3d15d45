"""`powdo event profile` and `note`: what a user tells of themself, and the world."""

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
    "profile",
    parent=event,
    epilog="powdo event profile --user ana --name Ana --about 'Works at night' | powdo publish\n"
    "jq -c '{user, name}' members.jsonl | powdo event profile --stdin --create-key | powdo publish",
)
@click.option("--name", metavar="TEXT", help="What the user is called.")
@click.option("--about", metavar="TEXT", help="Something about them.")
@click.option("--picture", metavar="URL", help="Where a picture of them is.")
@action_options
def profile(run: Run, **flags: Any) -> None:
    """Write a profile (kind 0) with what is given; it replaces the one before."""
    from powdo.commands.event.signer import text
    from powdo.nips import actions

    def make(fields: dict[str, Any], _: Signer) -> Iterator[Draft]:
        yield actions.profile(**fields)

    known = dict.fromkeys(("name", "about", "picture"), text)
    act(run, Action((actions.PROFILE,), known, make), **flags)


@command(
    "note",
    parent=event,
    epilog="powdo event note --user ana 'The café is open' | powdo publish",
)
@click.argument("content", metavar="[TEXT]", required=False)
@click.option("--mention", "mention", multiple=True, metavar="WHO", help="Name an npub, or a key in custody.")
@click.option("--topic", multiple=True, metavar="WORD", help="Give it a hashtag.")
@action_options
def note(run: Run, **flags: Any) -> None:
    """Write a note (kind 1) that says TEXT."""
    from powdo.commands.event.signer import text, texts
    from powdo.errors import BadRecordError
    from powdo.nips import actions

    def make(fields: dict[str, Any], signer: Signer) -> Iterator[Draft]:
        if "content" not in fields:
            raise BadRecordError("the note says nothing", hint="give its text")
        people = [signer.person(who) for who in fields.get("mention", ())]
        yield actions.note(fields["content"], mentions=people, topics=fields.get("topic", ()))

    act(run, Action((actions.NOTE,), {"content": text, "mention": texts, "topic": texts}, make), **flags)
