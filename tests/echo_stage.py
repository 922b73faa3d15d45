"""A filter run through powdo's own main, whose records say what shall happen to them.

{"sleep": s} takes time, {"touch": path} says that it began, {"fail": class} raises that error,
{"bug": true} fails as only a bug would; all others are passed on. --queue FILE is its durable queue.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from powdo import cli, errors
from powdo.options import Run, command, filter_options, pending_option


def _handle(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "touch" in record:
        Path(record["touch"]).touch()
    time.sleep(record.get("sleep", 0))
    if "fail" in record:
        raise getattr(errors, record["fail"])(record.get("message", "it failed"), hint=record.get("hint"))
    if "bug" in record:
        raise ZeroDivisionError("division by zero")
    yield record


@command("echo", epilog="printf '{}\\n' | powdo echo")
@filter_options
@pending_option
@click.option("--queue", type=click.Path(path_type=Path), help="The queue: a file of records.")
@click.option("--retry", type=float, help="Look into the queue again after so many seconds.")
def echo(run: Run, files: tuple[str, ...], pending: bool, queue: Path | None, retry: float | None) -> None:
    """Pass records on."""
    begin = time.time()
    run.console.info("begins")
    run.console.debug("begins inside")

    def waiting() -> list[dict[str, Any]]:
        return [json.loads(line) for line in queue.read_text().splitlines()] if queue else []

    run.stage(
        files,
        _handle,
        key=lambda record: json.dumps(record, sort_keys=True),
        pending=waiting if pending else None,
        next_retry=(lambda: begin + retry) if retry is not None else None,
    )


if __name__ == "__main__":
    module = types.ModuleType("powdo.commands.echo")
    module.echo = echo  # type: ignore[attr-defined]  # where the lazy group looks for it
    sys.modules[module.__name__] = module
    cli.COMMANDS["echo"] = "Pass records on."
    cli.main()
