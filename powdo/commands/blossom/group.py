"""The group `powdo blossom`; its commands stand in the modules beside it."""

from __future__ import annotations

from pathlib import Path

import click

from powdo.options import Run, group


@group("blossom")
def blossom() -> None:
    """Run the Blossom server, and look after what it keeps."""


data_option = click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path), help="The folder in which the server keeps all."
)


def folder_of(run: Run, data: Path | None) -> Path:
    """Return the folder that --data or [blossom] names. Raises: UsageError."""
    from powdo.errors import UsageError

    folder = data or run.settings.blossom.data
    if folder is None:
        raise UsageError("no folder with blobs", hint="give --data DIR, or data in [blossom]")
    return folder
