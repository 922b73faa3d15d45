"""`powdo event booking` and `shift`: times in a calendar (NIP-52)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from powdo.commands.event.group import Action, act, action_options, event
from powdo.options import Run, command

if TYPE_CHECKING:
    from powdo.commands.event.signer import Signer
    from powdo.nips.actions import Draft

F = TypeVar("F", bound=Callable[..., Any])


def _calendar_options(function: F) -> F:
    options = (
        click.option("--description", metavar="TEXT", help="What it is about."),
        click.option("--person", multiple=True, metavar="WHO", help="Who takes part: an npub, or a key."),
        click.option("--location", multiple=True, metavar="TEXT", help="Where it is."),
        click.option("--id", metavar="TEXT", help="Replace the one with this identifier."),
        click.option("--end-timezone", metavar="TZ", help="Where the end is, if elsewhere."),
        click.option("--timezone", metavar="TZ", help="Where the times are; default: this machine's zone."),
        click.option("--end", metavar="T", help="When it ends; that moment is no part of it."),
        click.option("--start", metavar="T", help="When it starts: RFC 3339, or wall clock of the zone."),
        click.option("--title", metavar="TEXT", help="What it is called."),
    )
    for option in options:
        function = option(function)
    return action_options(function)


@command(
    "booking",
    parent=event,
    epilog="powdo event booking --user dvm --title 'Room 2' --start 2026-12-01T09:00 \\\n"
    "    --end 2026-12-01T11:00 --timezone Europe/Berlin --person ana | powdo publish",
)
@_calendar_options
def booking(run: Run, **flags: Any) -> None:
    """Write a booking (kind 31923): of a room, a course, a machine."""
    _write(run, "booking", flags)


@command(
    "shift",
    parent=event,
    epilog="powdo event shift --user dvm --title Counter --start 2026-12-01T22:00 --end 2026-12-02T06:00 \\\n"
    "    --timezone Europe/Berlin --person ana --person bob | powdo publish",
)
@_calendar_options
def shift(run: Run, **flags: Any) -> None:
    """Write a shift (kind 31923): who works when."""
    _write(run, "shift", flags)


def _write(run: Run, what: str, flags: dict[str, Any]) -> None:
    from powdo.commands.event.signer import instant, text, texts
    from powdo.nips.actions import CALENDAR

    known = dict.fromkeys(("title", "timezone", "end_timezone", "id", "description"), text)
    fields = {**known, "start": instant, "end": instant, "location": texts, "person": texts}
    act(run, Action((CALENDAR,), fields, lambda given, signer: _drafts(what, given, signer)), **flags)


def _drafts(what: str, fields: dict[str, Any], signer: Signer) -> Iterator[Draft]:
    from powdo.commands.event.times import seconds, zone_name
    from powdo.errors import BadRecordError
    from powdo.nips.actions import calendar

    for name in ("title", "start"):
        if name not in fields:
            raise BadRecordError(f"the {what} has no {name}", hint=f"give --{name}")
    zone = zone_name(fields.get("timezone"))
    end_zone = zone_name(fields["end_timezone"]) if "end_timezone" in fields else zone
    yield calendar(
        what,
        title=fields["title"],
        start=seconds(fields["start"], zone),
        end=seconds(fields["end"], end_zone) if "end" in fields else None,
        zone=zone,
        end_zone=end_zone,
        identifier=fields.get("id"),
        location=fields.get("location", ()),
        people=[signer.person(who) for who in fields.get("person", ())],
        description=fields.get("description", ""),
    )
