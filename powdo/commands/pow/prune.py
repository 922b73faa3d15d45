"""`powdo pow prune`: jobs that are long over, and what moved for them, out of the service's books.

What they were charged stays with each account in sum, so that the books balance before, between and after.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.pow.group import proof
from powdo.options import Duration, Run, command, dry_run_option

if TYPE_CHECKING:
    from powdo.adapters.database.pow_books import Books, Past

_DAY = 86_400


@command("prune", parent=proof, epilog="powdo pow prune -n --json | jq -s 'map(.charged) | add'")
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path), help="The service's folder, if not [pow] data."
)
@click.option(
    "--older-than",
    type=Duration(),
    default="90d",
    show_default=True,
    metavar="AGE",
    help="Forget jobs that ended so long ago, a day at least.",
)
@dry_run_option
@click.option("--json", is_flag=True, help="Write a JSON line for each job that went.")
def prune(run: Run, data: Path | None, older_than: int, dry_run: bool, json: bool) -> None:
    """Forget jobs that are long over, beside a service that runs.

    Balances, sums and credits stay as they are; `powdo pow accounts --check` adds them up.
    """
    from powdo.errors import UsageError
    from powdo.pow_service import open_books, section_of

    if older_than < _DAY:
        raise UsageError("--older-than: jobs are kept for a day at least", hint="such as --older-than 90d")
    before = int(time.time()) - older_than
    with closing(open_books(section_of(run, data))) as books:
        if dry_run:
            run.table([_row(job) for job in books.past(before)], json=json)
            return
        _forget(run, books, before, json=json)


def _forget(run: Run, books: Books, before: int, *, json: bool) -> None:
    from powdo import signals

    count = 0
    gone: list[Past] | None = None
    with run.progress("jobs forgotten", None) as progress:
        while gone is None or gone:
            with signals.deferred():  # a batch is finished, and told
                gone = books.forget(before)
                if json and gone:
                    progress.clear()
                    for job in gone:
                        run.emit(_row(job))
            count += len(gone)
            progress.advance(len(gone))
    if count:
        run.console.info(f"forgot {count} jobs")


def _row(job: Past) -> dict[str, Any]:
    from datetime import UTC, datetime

    from powdo.lines import format_time
    from powdo.nips.bech32 import encode_npub

    return {
        "job": job.id,
        "npub": encode_npub(job.pubkey),
        "begin": format_time(datetime.fromtimestamp(job.begun_at, UTC)),
        "end": format_time(datetime.fromtimestamp(job.ended_at, UTC)),
        "state": job.state,
        "fee": job.fee / 1000,
        "charged": job.charged / 1000,
    }
