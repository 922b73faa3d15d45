"""`powdo pow check`: what proof of work events carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from powdo.commands.pow.group import MAX_BITS, proof
from powdo.options import Run, command, filter_options, report_options

if TYPE_CHECKING:
    from powdo.errors import PowdoError
    from powdo.nips.event import Unsigned


@command(
    "check",
    parent=proof,
    epilog="""nak req -k 1 -l 20 wss://relay.example | powdo pow check --min 16
    powdo pow check --json events.jsonl | jq -r 'select(.valid) | .id'""",
)
@filter_options
@click.option(
    "--min",
    "minimum",
    type=click.IntRange(0, MAX_BITS),
    default=0,
    metavar="BITS",
    help="Fail (status 65) where an event has not BITS, or has not committed to them.",
)
@report_options
def check(run: Run, files: tuple[str, ...], minimum: int, json: bool, headers: bool) -> None:
    """Show the proof of work of events (NIP-13): their bits, and the target they commit to.

    An event is valid when its id is right, its signature too if it has one, and it has the bits it commits
    to, which with --min must be BITS at least. Luck does not count: who aims low is lucky now and then.
    """
    from powdo import stdio
    from powdo.errors import PowdoError
    from powdo.lines import decode_line

    rows: list[dict[str, Any]] = []
    for line in stdio.Lines(files):
        try:
            if line.error is not None:
                raise line.error
            row, problem = _look(decode_line(line.data), minimum)
        except PowdoError as error:
            run.fail(error, line.number or None, line.source)
            continue
        if json:
            run.emit(row)
        else:
            rows.append(row)
        if problem is not None:
            run.fail(problem, line.number, line.source)
    run.table(rows, json=False, headers=headers)


def _look(record: dict[str, Any], minimum: int) -> tuple[dict[str, Any], PowdoError | None]:
    """Return what there is to see of one event, and why it is not good enough. Raises: BadRecordError."""
    from powdo.errors import BadRecordError
    from powdo.nips.event import Unsigned
    from powdo.nips.pow import committed, difficulty

    event = Unsigned.from_fields(record)
    bits, target = difficulty(event.id), committed(event.tags)
    problem = _forgery(record, event)
    if problem is None and target is not None and bits < target:
        problem = f"it commits to {target} bits and has {bits}"
    if problem is None and minimum:
        if target is None:
            problem = "it commits to no target"
        elif target < minimum:
            problem = f"it commits to {target} bits, not {minimum}"
    row = {"id": event.id, "bits": bits, "target": target, "valid": problem is None}
    error = None if problem is None else BadRecordError(f"event '{event.id[:16]}…': {problem}")
    return row, error


def _forgery(record: dict[str, Any], event: Unsigned) -> str | None:
    """Return what is wrong with id or signature, None where they are right or absent."""
    from powdo.errors import PeerProtocolError
    from powdo.nips.event import Event

    if record.get("id") not in (None, event.id):
        return "its id is wrong"
    if record.get("sig"):
        try:
            Event.from_json({"id": event.id} | record).verify()
        except PeerProtocolError:
            return "its signature is wrong"
    return None
