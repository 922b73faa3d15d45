"""`powdo allow sync`: make the relay's list what is wanted, once or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from powdo.commands.allow.group import allow
from powdo.options import Run, command, dry_run_option, network_options

if TYPE_CHECKING:
    from powdo.adapters.allow import Client
    from powdo.records.operator import Synced

_SPREAD = 0.1


@command("sync", parent=allow, epilog="powdo allow sync\npowdo allow sync -n | jq .removed")
@click.option("--force", is_flag=True, help="Empty the relay's list if nobody is wanted.")
@click.option("--follow", is_flag=True, help="Do so again and again, at the interval of [allow].")
@network_options
@dry_run_option
def sync(run: Run, force: bool, follow: bool, timeout: float, dry_run: bool) -> None:
    """Make the relay's list what is wanted here, and write how many keys came and went.

    Wanted are the enrolled workers' access keys, the DVM's own, the keys in custody, and what was pinned.
    """
    from powdo import admission
    from powdo.errors import UsageError

    if follow and dry_run:
        raise UsageError("--follow changes the relay's list", hint="use -n without --follow")
    if follow and force:
        raise UsageError("--follow never empties the relay's list", hint="use --force without --follow")
    client = admission.connect(run.settings, timeout)
    try:
        if follow:
            _follow(run, client)
        elif dry_run:
            run.emit(_foreseen(run, client))
        else:
            run.emit(_sync(run, client, force=force))
    finally:
        client.close()


def _sync(run: Run, client: Client, *, force: bool) -> Synced:
    from powdo import admission
    from powdo.adapters.allow import reconcile
    from powdo.errors import UsageError
    from powdo.records.operator import Synced

    here = admission.state(run)

    def wanted() -> list[str]:
        pubkeys = list(admission.union(run.settings, here.pins()).reasons)
        if not pubkeys and not force and client.pubkeys():
            raise UsageError(
                "nobody is wanted here, and the relay's list is not empty",
                hint="is this the right configuration and state directory? --force empties the list",
            )
        return pubkeys

    counts = reconcile(here, client, wanted)
    return Synced(added=counts.added, removed=counts.removed, total=counts.total)


def _foreseen(run: Run, client: Client) -> Synced:
    """Return what a sync would write."""
    from powdo import admission
    from powdo.records.operator import Synced

    wanted = set(admission.union(run.settings, admission.state(run).pins()).reasons)
    listed = client.pubkeys()
    return Synced(added=len(wanted - listed), removed=len(listed - wanted), total=len(wanted))


def _follow(run: Run, client: Client) -> None:
    """Sync at once and then at each interval, until a signal ends it.

    What passes by itself is told once, until something else is met; what needs a person ends it.
    """
    import random
    import time

    from powdo.errors import ConfigurationError, KeyRejectedError, OutputError, PowdoError

    told: str | None = None
    while True:
        try:
            run.emit(_sync(run, client, force=False))
            if told is not None:
                run.console.note("the relay is in step again")
            told = None
        except (ConfigurationError, KeyRejectedError, OutputError):
            raise
        except PowdoError as error:
            if error.message != told:
                run.console.warning(error.message, hint=error.hint)
            told = error.message
        interval = run.settings.allow.interval
        time.sleep(interval * random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311  # jitter is no secret
