"""`powdo event reward`: what a user gets, told by hand or counted (NIP-78, d = `chb:reward`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.event.group import Action, act, action_options, event
from powdo.options import Run, command, filter_options

if TYPE_CHECKING:
    from decimal import Decimal

    from powdo.commands.event.signer import Signer
    from powdo.nips.actions import Draft


@command(
    "reward",
    parent=event,
    epilog="powdo event reward --user dvm --to ana --amount 5 --reason 'Night shift' | powdo publish\n"
    "powdo timesheets --since 2026-11-01 --until 2026-12-01 --json |\n"
    "    powdo event reward --user dvm --rate 1 --unit points | powdo publish",
)
@filter_options
@click.option("--amount", metavar="NUMBER", help="How much.")
@click.option("--unit", metavar="WORD", help="Of what; default: points.")
@click.option("--to", metavar="WHO", help="Who gets it: an npub, or a key in custody.")
@click.option("--reason", metavar="TEXT", help="What for.")
@click.option("--id", metavar="TEXT", help="Tell this reward from others of the same author.")
@click.option("--rate", metavar="NUMBER", help="Count it from timesheets instead, NUMBER an hour.")
@click.option(
    "--period",
    type=click.Choice(("day", "week", "month", "year")),
    help="One reward for each worker and period; default: month.",
)
@click.option("--timezone", metavar="TZ", help="Where periods begin; default: that of [dvm].")
@action_options
def reward(run: Run, files: tuple[str, ...], **flags: Any) -> None:
    """Write a reward (kind 30078) of --amount, or with --rate those that timesheets make.

    With --rate it reads timesheets and writes one reward for each worker and period. Counted again it
    replaces the one before, and is the very same event where nothing has changed: so give it whole periods.
    A bad line ends it without a reward.
    """
    from powdo.commands.event.counting import count
    from powdo.commands.event.signer import Signer, amount, required_user, text
    from powdo.errors import BadRecordError, UsageError
    from powdo.nips.actions import APP_DATA

    counted = {name: flags.pop(name) for name in ("rate", "period", "timezone")}
    if counted["rate"] is not None:
        _refuse_mixture(flags, ("amount", "to", "reason", "id", "stdin"))
        try:
            rate = _number("rate", counted.pop("rate"))
        except BadRecordError as error:
            raise UsageError(error.message) from None
        signer = Signer(run, required_user(flags["user"]), create_key=flags["create_key"])
        count(signer, files, rate=rate, unit=flags["unit"] or _UNIT, **counted)
        return
    _refuse_mixture(counted | {"file": files}, ("period", "timezone", "file"), other="without --rate")
    if flags["amount"] is None and not flags["stdin"]:
        raise UsageError("there is no amount", hint="give --amount, or --rate to count it from timesheets")
    known = {**dict.fromkeys(("unit", "to", "reason", "id"), text), "amount": amount}
    act(run, Action((APP_DATA,), known, _by_hand), **flags)


def _refuse_mixture(flags: dict[str, Any], names: tuple[str, ...], other: str = "with --rate") -> None:
    from powdo.errors import UsageError

    for name in names:
        if flags[name]:
            what = "FILE" if name == "file" else f"--{name}"
            raise UsageError(f"{what} makes no sense {other}", hint="see `powdo event reward --help`")


def _by_hand(fields: dict[str, Any], signer: Signer) -> Iterator[Draft]:
    from powdo.errors import BadRecordError
    from powdo.nips.actions import reward as drafted

    if "amount" not in fields:
        raise BadRecordError("the reward has no amount")
    yield drafted(
        str(_number("amount", fields["amount"])),
        fields.get("unit", _UNIT),
        to=signer.person(fields["to"]) if "to" in fields else None,
        identifier=fields.get("id"),
        reason=fields.get("reason", ""),
    )


_UNIT = "points"


def _number(name: str, value: str) -> Decimal:
    """Return the number *value*. Raises: BadRecordError."""
    from decimal import Decimal, InvalidOperation

    from powdo.errors import BadRecordError

    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0 or number.adjusted() > 15:
        raise BadRecordError(f"{name} '{value[:40]}' is not a number from 0")
    return number
