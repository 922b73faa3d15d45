"""`powdo unwrap`: gift wraps become rumors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from powdo.options import Run, command, filter_options


@command("unwrap", epilog="powdo listen --until-eose | powdo unwrap | jq .tags")
@filter_options
@click.option("--user", metavar="NAME", help="Open what is addressed to NAME instead.")
def unwrap(run: Run, files: tuple[str, ...], user: str | None) -> None:
    """Open gift wraps and write their rumors.

    Each is checked: wrap and seal are genuine, the rumor is by the seal's author, nothing has expired.
    """
    from powdo.nips.event import Event
    from powdo.nips.giftwrap import unwrap as opened

    key = run.key(user or run.settings.listener())

    def handle(obj: dict[str, Any]) -> Iterator[dict[str, object]]:
        yield opened(Event.from_json(obj), key, now=int(time.time())).rumor.to_json()

    run.stage(files, handle, key=lambda event: str(event.get("id")))
