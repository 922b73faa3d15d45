"""The group `powdo relay`; its commands stand in the modules beside it."""

from __future__ import annotations

from pathlib import Path

import click

from powdo.errors import UsageError
from powdo.options import Run, group

data_option = click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path), help="The relay's folder, if not [relay] data."
)


@group("relay")
def relay() -> None:
    """Run the relay and look after it, or make its decision for strfry."""


def events_file(run: Run, data: Path | None) -> Path:
    """Return the file with the relay's events, whether it is there or not. Raises: UsageError."""
    folder = data or run.settings.relay.data
    if folder is None:
        raise UsageError("no folder with events", hint="give --data DIR, or data in [relay]")
    return folder / "relay.sqlite"
