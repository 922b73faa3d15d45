"""`powdo prune`: blobs and screenshots that the DVM keeps no longer.

A row says so before the file goes; what a killed run has left goes with the next.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from powdo.options import Run, command, dry_run_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from powdo.adapters.database import Expired, Store, What
    from powdo.adapters.evidence import Remover


@command("prune", epilog="powdo prune -n --json | jq -s 'map(.files) | add'\npowdo prune -q")
@dry_run_option
@click.option("--json", is_flag=True, help="Write a JSON line for each bundle that lost something.")
def prune(run: Run, dry_run: bool, json: bool) -> None:
    """Remove the blobs and screenshots that retain_blobs and retain_screenshots keep no longer.

    What was signed stays: wrap, seal, rumor, manifest, link, and the bucket events that reports count.
    """
    from powdo.adapters.database import Database, Store
    from powdo.adapters.evidence import Remover

    settings = run.settings
    with closing(Store(Database(settings.database_url, create=False))) as store:
        remover = Remover(settings.data_dir / "evidence", store.needed)
        if dry_run:
            run.nothing = "nothing is as old as retain_blobs and retain_screenshots say"
            if not _rules(run):
                run.nothing = "all is kept: neither retain_blobs nor retain_screenshots is set in [dvm]"
            found = (_row(what, item) for what, before in _rules(run) for item in _all(store, what, before))
            run.table(list(found), json=json)
            return
        files = size = 0
        for gone in _removed(run, store, remover, json=json):
            files += len(gone)
            size += sum(gone.values())
        if files:
            run.console.info(f"removed {files} files of {size} bytes")


def _rules(run: Run) -> list[tuple[What, int]]:
    """Return what goes, and before which moment it was taken in."""
    dvm, now = run.settings.dvm, int(time.time())
    ages: tuple[tuple[What, int | None], ...] = (
        ("blob", dvm.retain_blobs),
        ("screenshots", dvm.retain_screenshots),
    )
    return [(what, now - age) for what, age in ages if age is not None]


def _all(store: Store, what: What, before: int) -> Iterator[Expired]:
    for batch in store.expired(what, before):
        yield from batch


def _removed(run: Run, store: Store, remover: Remover, *, json: bool) -> Iterator[dict[str, int]]:
    """Yield the files that are gone; what is told has been marked and removed by then."""
    from powdo import signals

    for what, before in _rules(run):
        for batch in store.expired(what, before):
            with signals.deferred():  # a batch is finished, and told
                store.mark_removed(what, [item.id for item in batch])
                gone = remover.remove({name for item in batch for name in item.files})
                for item in batch if json else ():
                    run.emit(_row(what, item))
            yield gone
    yield from remover.leftovers()


def _row(what: str, item: Expired) -> dict[str, Any]:
    from datetime import UTC, datetime

    from powdo.lines import format_time
    from powdo.worktime.manifest import from_micros

    return {
        "what": what,
        "worker": item.worker,
        "device": item.device,
        "sequence": item.sequence,
        "begin": format_time(from_micros(item.begin_us)),
        "ingested": format_time(datetime.fromtimestamp(item.ingested_at, UTC)),
        "files": len(item.files),
    }
