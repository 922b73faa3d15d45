"""`powdo relay backup`: a copy of the relay's events."""

from __future__ import annotations

from pathlib import Path

import click

from powdo.commands.relay.group import data_option, events_file, relay
from powdo.options import Run, command


@command("backup", parent=relay, epilog="powdo relay backup /var/backups/relay-$(date +%F).sqlite")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@data_option
def backup(run: Run, target: Path, data: Path | None) -> None:
    """Copy the events to FILE, as they are at this moment; the relay may run meanwhile.

    FILE must not be there yet, and is not before it is whole.
    """
    from powdo.servers.relay.backup import back_up, expected_size

    file = events_file(run, data)
    with run.progress(f"copying '{file}'", expected_size(file)) as progress:
        back_up(file, target.absolute(), progress.advance)
