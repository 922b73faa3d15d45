"""`powdo pow mine`: events in, events with proof of work out."""

from __future__ import annotations

import os
from contextlib import closing

import click

from powdo.commands.pow.events import each_event
from powdo.commands.pow.group import MAX_BITS, miner_options, nice_option, proof
from powdo.options import Run, command, filter_options


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
    from powdo.mining import Workshop

    os.nice(nice)
    with closing(Workshop(run.console, kernel=kernel, threads=threads)) as workshop:
        each_event(run, files, user, lambda event: workshop.mine(event, target, timeout=timeout))
