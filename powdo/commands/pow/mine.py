"""`powdo pow mine`: events in, events with proof of work out."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.pow.group import MAX_BITS, miner_options, nice_option, proof
from powdo.options import Run, command, filter_options

if TYPE_CHECKING:
    from powdo.nips.curve import SecretKey
    from powdo.nips.event import Unsigned


@command(
    "mine",
    parent=proof,
    epilog="""jq -nc '{kind:1,tags:[],content:"hi"}' | powdo pow mine --target 20 --user ana | powdo publish
    powdo pow mine --target 16 --timeout 60 unsigned.jsonl | nak event --sec "$KEY" wss://…""",
)
@filter_options
@click.option(
    "--target",
    type=click.IntRange(0, MAX_BITS),
    required=True,
    metavar="BITS",
    help="Mine BITS leading zeros.",
)
@click.option("--user", metavar="NAME", help="Sign what is mined as NAME, whose event it must be.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give an event up after SECONDS, with status 75.",
)
@miner_options
@nice_option
def mine(
    run: Run,
    files: tuple[str, ...],
    target: int,
    user: str | None,
    timeout: float | None,
    threads: int | None,
    kernel: str | None,
    nice: int,
) -> None:
    """Mine events: give each a nonce with which its id has BITS leading zero bits (NIP-13).

    Reads events, signed or not; what lacks a public key or a time gets NAME's and the present one. Writes
    them unsigned, since a nonce makes an old signature wrong, or signed with --user. Times are kept fresh,
    except those of seals and gift wraps.
    """
    from powdo import stdio
    from powdo.errors import PowdoError
    from powdo.lines import decode_line
    from powdo.mining import Workshop

    key = run.key(user) if user else None
    os.nice(nice)
    with closing(Workshop(run.console, kernel=kernel, threads=threads)) as workshop:
        for line in stdio.Lines(files):
            try:
                if line.error is not None:
                    raise line.error
                event = _event(decode_line(line.data), key)
                mined = workshop.mine(event, target, timeout=timeout)
                run.emit(_signed(mined, key))
            except PowdoError as error:
                if error.status in (2, 74, 77, 78):
                    raise
                run.fail(error, line.number or None, line.source)


def _event(record: dict[str, Any], key: SecretKey | None) -> Unsigned:
    """Return the event in *record*, which is right if it is signed.

    Raises: BadRecordError, PeerProtocolError.
    """
    from powdo.errors import BadRecordError
    from powdo.nips.event import Event, Unsigned

    if record.get("sig"):
        signed = Event.from_json(record)
        signed.verify()
        event = Unsigned(*signed[1:6])
    else:
        if "pubkey" not in record and key is None:
            raise BadRecordError("the event has no pubkey", hint="name its author with --user")
        absent = {"created_at": int(time.time()), "pubkey": key.pubkey if key else None}
        event = Unsigned.from_fields(absent | record)
        if record.get("id") not in (None, event.id):
            raise BadRecordError("the event has a wrong id")
    if key is not None and event.pubkey != key.pubkey:
        raise BadRecordError("the event is by somebody else than --user names")
    return event


def _signed(event: Unsigned, key: SecretKey | None) -> dict[str, object]:
    from powdo.nips.event import sign

    return event.to_json() if key is None else sign(event, key, os.urandom(32)).to_json()
