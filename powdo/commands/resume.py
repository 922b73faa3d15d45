"""`powdo resume`: captures go on."""

from __future__ import annotations

import time

import click

from powdo.options import Duration, Run, command


@command("resume", epilog="powdo resume\npowdo resume --for 8h")
@click.option(
    "--for", "duration", type=Duration(), metavar="DURATION", help="Capture for DURATION whatever the hours."
)
def resume(run: Run, duration: int | None) -> None:
    """End a pause; with --for capture outside the hours too.

    What ActivityWatch recorded in the pause stays out of every capture.
    """
    from powdo.adapters.outbox import Outbox
    from powdo.settings.desktop import local_offset

    now = time.time_ns() // 1000
    outbox = Outbox(run.settings.state_dir)
    outbox.resume(now, None if duration is None else now + duration * 1_000_000)
    state = outbox.control(run.settings.capture.hours, local_offset, since=now).state(now)
    outbox.close()
    if state == "off-hours":
        run.console.warning(
            "nothing is captured, since it is outside the hours", hint="override them: powdo resume --for 8h"
        )
