"""`powdo pow request`: has a service mine events, and checks what it gives."""

from __future__ import annotations

from contextlib import closing

import click

from powdo.commands.pow.events import each_event
from powdo.commands.pow.group import MAX_BITS, proof
from powdo.errors import UsageError
from powdo.options import Run, command, filter_options, relay_urls


@command(
    "request",
    parent=proof,
    epilog="""powdo pow request --provider wss://pow.example --target 26 --user ana note.jsonl | powdo publish
    powdo pow request --provider wss://pow.example --throw-away events.jsonl | powdo pow check --min 20""",
)
@filter_options
@click.option("--provider", metavar="URL", required=True, help="Ask the service at URL.")
@click.option(
    "--target",
    type=click.IntRange(1, MAX_BITS),
    metavar="BITS",
    help="Ask for BITS; by default for what the primary relay wants.",
)
@click.option("--user", metavar="NAME", help="Sign what comes back as NAME, whose event it must be.")
@click.option("--as", "asker", metavar="NAME", help="Authenticate as NAME instead of the access key.")
@click.option("--throw-away", is_flag=True, help="Authenticate with a key made for this.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 86400),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for each event.",
)
def request(
    run: Run,
    files: tuple[str, ...],
    provider: str,
    target: int | None,
    user: str | None,
    asker: str | None,
    throw_away: bool,
    timeout: float,
) -> None:
    """Have a service mine events, and check what it gives before it is written or signed.

    Reads and writes events as `pow mine` does. A service that gives another event, or fewer bits, is refused
    with status 76.
    """
    from powdo.proving import Proof, Seller

    if asker is not None and throw_away:
        raise UsageError("--as and --throw-away exclude each other")
    (url,) = relay_urls((provider,))
    who = None if throw_away else asker or run.settings.access_user()
    with closing(Proof(run, target, Seller(url, who, timeout))) as proof_of_work:
        if not proof_of_work.bits:
            raise UsageError("the relay wants no proof of work", hint="say how much with --target BITS")
        each_event(run, files, user, proof_of_work.prove)
