"""`powdo publish`: signed events to the relays, the primary one first."""

from __future__ import annotations

from collections.abc import Sequence

import click

from powdo.options import (
    Run,
    command,
    dry_run_option,
    filter_options,
    network_options,
    pending_option,
    relay_urls,
)


@command(
    "publish",
    epilog="powdo bundle --pending | powdo upload --pending | powdo wrap --pending | powdo publish --pending",
)
@filter_options
@pending_option
@network_options
@dry_run_option
@click.option(
    "--relay", "relays", metavar="URL", multiple=True, help="Send to URL; the first is the primary."
)
@click.option("--fan-out", "fan_out", metavar="URL", multiple=True, help="Send to URL too, if it is there.")
@click.option("--public", is_flag=True, help="Fan out rewards counted from tracked time, too.")
@click.option("--no-auth", is_flag=True, help="Never tell a relay who publishes.")
def publish(
    run: Run,
    files: tuple[str, ...],
    pending: bool,
    timeout: float,
    dry_run: bool,
    relays: tuple[str, ...],
    fan_out: tuple[str, ...],
    public: bool,
    no_auth: bool,
) -> None:
    """Send signed events to the relays.

    Reads Nostr events and writes one record for each relay with what it said. The primary relay must
    take an event; the others are tried once. Gift wraps never go to fan-out relays, rewards counted from
    tracked time only with --public. What the primary relay could not take is kept for --pending.
    """
    from powdo.publishing import Publisher

    if not run.settings.publishes and not dry_run:
        _leave_out(run, files, pending=pending)
        return
    publisher = Publisher(
        run,
        relays=relay_urls(relays),
        fan_out=relay_urls(fan_out),
        timeout=timeout,
        silent=no_auth,
        public=public,
    )
    try:
        run.stage(
            files,
            publisher.show if dry_run else publisher.handle,
            key=lambda obj: str(obj.get("id")),
            pending=publisher.pending if pending else None,
            next_retry=publisher.next_retry,
        )
    finally:
        publisher.close()


def _leave_out(run: Run, files: Sequence[str], *, pending: bool) -> None:
    """Read all that is given, so that whoever writes it is not cut off, and say that nothing is sent."""
    from powdo import stdio

    count = sum(line.error is None for line in stdio.Lines(files, optional=pending))
    what = f"; {count} event{'' if count == 1 else 's'} left out" if count else ""
    run.console.note(f"NOSTR_ENABLED is off: nothing is sent{what}")
