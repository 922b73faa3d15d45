"""`powdo review`: the worker's own captures on a page, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from powdo.options import Run, command, period_options

if TYPE_CHECKING:
    from powdo.settings.periods import Period


@command(
    "review",
    epilog="powdo review --html review.html && xdg-open review.html\n"
    "powdo review --html today.html --since today\n"
    "powdo outbox release --all && powdo bundle --pending | powdo upload",
)
@click.option(
    "--html", metavar="FILE", required=True, help="Write the page into FILE, which is not encrypted."
)
@period_options
def review(run: Run, html: str, period: Period) -> None:
    """Show on a page what the outbox holds, before it is sent.

    Captures are opened in memory; FILE alone holds them in plain text. Without a period it is about those
    that were not sent yet, with one about all of it, as far as they are kept.
    """
    from pathlib import Path

    from powdo.adapters.outbox import Outbox
    from powdo.commands.review.page import write

    outbox = Outbox(run.settings.state_dir)
    try:
        write(run, outbox, Path(html), period)
    finally:
        outbox.close()
