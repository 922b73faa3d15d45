"""`powdo pause`: nothing is captured, from now on."""

from __future__ import annotations

import time

import click

from powdo.options import Duration, Run, command


@command("pause", epilog="powdo pause --for 30m\npowdo pause && powdo status && powdo resume")
@click.option(
    "--for", "duration", type=Duration(), metavar="DURATION", help="Go on by itself after DURATION."
)
def pause(run: Run, duration: int | None) -> None:
    """Capture nothing from now on, for a while or until `powdo resume`.

    What ActivityWatch records meanwhile is never captured, later either. The latest word counts.
    """
    from powdo.adapters.outbox import Outbox

    now = time.time_ns() // 1000
    end = None if duration is None else now + duration * 1_000_000
    outbox = Outbox(run.settings.state_dir)
    outbox.pause(now, end)
    outbox.close()
    run.console.info("paused" + ("" if duration is None else f" for {duration} seconds"))
