"""`powdo event membership`: who belongs to a community (NIP-78, d = `chb:membership`)."""

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
    "membership",
    parent=event,
    epilog="powdo event membership --user ana --role keeper --since 2026-01-01 | powdo publish\n"
    "powdo event membership --user dvm --member ana --status ended | powdo publish",
)
@click.option("--status", metavar="WORD", help="Such as active, the default, or ended.")
@click.option("--member", metavar="WHO", help="Who it is about, if not --user: an npub, or a key in custody.")
@click.option("--role", metavar="TEXT", help="What they are there.")
@click.option("--since", metavar="T", help="Since when: RFC 3339, or a date.")
@click.option("--until", metavar="T", help="Until when.")
@action_options
def membership(run: Run, **flags: Any) -> None:
    """Write a membership (kind 30078); it replaces the one before of the same member."""
    from powdo.commands.event.signer import instant, text
    from powdo.nips.actions import APP_DATA

    fields = {**dict.fromkeys(("status", "member", "role"), text), "since": instant, "until": instant}
    act(run, Action((APP_DATA,), fields, _drafts), **flags)


def _drafts(fields: dict[str, Any], signer: Signer) -> Iterator[Draft]:
    from powdo.commands.event.times import seconds, zone_name
    from powdo.nips.actions import membership as drafted

    zone = zone_name(None)
    times = {name: seconds(fields[name], zone) for name in ("since", "until") if name in fields}
    yield drafted(
        fields.get("status", "active"),
        member=signer.person(fields["member"]) if "member" in fields else None,
        role=fields.get("role"),
        **times,
    )
