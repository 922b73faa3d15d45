"""What a DVM needs: its database at the current version, enrolled workers, hosts that bundles may lie on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from powdo.checkup.findings import Finding, attempted, doubtful, failed, good, skipped
from powdo.errors import RefusedError
from powdo.run import Run

if TYPE_CHECKING:
    from powdo.adapters.kimai.check import Finding as KimaiFinding

_SETTINGS = "see Kimai's settings"


def operator(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield what is found of the operator's side."""
    yield from attempted("database", lambda: _database(run))
    if run.settings.dvm.blossom_hosts:
        yield good("blossom", f"bundles may lie on {', '.join(run.settings.dvm.blossom_hosts)}")
    else:
        yield doubtful("blossom", "bundles may lie nowhere", "set blossom_hosts in [dvm]")
    if run.settings.kimai.url is None:
        yield skipped("kimai", "no url in [kimai]")
    else:
        yield from attempted("kimai", lambda: _kimai(run, timeout))


def _database(run: Run) -> Iterator[Finding]:
    """Yield what the database is, and who is enrolled; opening it brings its tables up to date."""
    from powdo.adapters.database.engine import Database
    from powdo.adapters.database.workers import Workers

    database = Database(run.settings.database_url)
    try:
        workers = Workers(database).workers(disabled=False)
        yield good("database", f"'{database.shown}'")
    finally:
        database.close()
    if not workers:
        yield doubtful("workers", "nobody is enrolled", "powdo users add NPUB --name NAME")
        return
    yield good("workers", f"{len(workers)} enrolled: {', '.join(worker.name for worker in workers)}"[:200])
    for worker in workers:
        if not worker.access_pubkeys:
            yield doubtful(
                "workers",
                f"{worker.name} has no access key",
                f"powdo users add --name {worker.name} --access NPUB",
            )


def _kimai(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield what `kimai-sync --check` finds, which changes nothing."""
    from contextlib import closing

    from powdo.adapters.database import Store
    from powdo.syncers import Syncers

    warnings: list[tuple[str, str | None]] = []

    def warn(text: str, hint: str | None) -> None:
        warnings.append((text, hint))

    settings = run.settings
    with (
        closing(Store(settings.database_url)) as store,
        closing(
            Syncers(
                settings, store, timeout, create=settings.kimai.create, dry=True, warn=warn, fail=run.fail
            )
        ) as syncers,
    ):
        yield from map(_of_kimai, syncers.check(store.workers(disabled=False)))
    for text, hint in warnings:
        yield doubtful("kimai", text, hint or _SETTINGS)
    if not any(rule.project for rule in settings.rules):
        yield doubtful("rules", "no [[rule]] books anything", "write rules: powdo.toml(5)")


def _of_kimai(found: KimaiFinding) -> Finding:
    """Return what was *found* about Kimai as a row of this report."""
    detail = f"{found.what}: {found.value}"
    if found.state == "error":
        return failed("kimai", RefusedError(detail), found.hint or _SETTINGS)
    if found.state == "warning":
        return doubtful("kimai", detail, found.hint or _SETTINGS)
    return good("kimai", detail)
