"""`powdo verify`: what is stored, held against what was signed; nothing derived is believed."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from powdo.options import Run, command, period_options, report_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from powdo.records.operator import Chain, Verified
    from powdo.settings.periods import Period


@command(
    "verify",
    epilog="powdo verify --last month\n"
    "powdo verify --user ana --json | jq -c 'select(.ok | not) | [.sequence, .problems]'",
)
@period_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@report_options
def verify(run: Run, period: Period, user: str | None, json: bool, headers: bool) -> None:
    """Check what is stored against everything that was signed."""
    from powdo.adapters.database import Database, Store
    from powdo.commands.verify.bundles import Examiner
    from powdo.commands.verify.stored import Selection, looked_at

    settings = run.settings
    with closing(Store(Database(settings.database_url, create=False))) as store:
        examiner = Examiner(run.key(settings.user()), settings.data_dir / "evidence")
        selection = Selection(run, store, period, user)
        _report(run, looked_at(selection, store, examiner), selection.count(), json=json, headers=headers)


def _report(run: Run, records: Iterator[Verified | Chain], total: int, *, json: bool, headers: bool) -> None:
    """Write what is found, as it is found where it is JSON, and report what is wrong."""
    from powdo.records.operator import Verified

    bundles: list[dict[str, Any]] = []
    chains: list[dict[str, Any]] = []
    with run.progress("verify", total) as progress:
        for record in records:
            _fail(run, record)
            if json:
                run.emit(record)
            elif isinstance(record, Verified):
                bundles.append(_bundle(record))
            else:
                chains.append(_chain(record))
            progress.advance(isinstance(record, Verified))
    run.table(bundles, json=False, headers=headers)
    run.table(chains, json=False, headers=headers)


def _fail(run: Run, record: Verified | Chain) -> None:
    """Report what is wrong with *record*."""
    from powdo.errors import PeerProtocolError
    from powdo.records.operator import Verified

    whose = record.worker or record.npub
    if isinstance(record, Verified):
        for problem in record.problems:
            which = f"bundle {record.sequence} of '{whose}' on device '{record.device}'"
            run.fail(PeerProtocolError(f"{which}: {problem['check']}: {problem['reason']}"))
        return
    for text in record.problems:
        run.fail(PeerProtocolError(f"chain of '{whose}': {text}"))


def _bundle(record: Verified) -> dict[str, Any]:
    """Return *record* as a row for people."""
    from powdo.lines import format_time

    failed = dict.fromkeys(str(problem["check"]) for problem in record.problems)
    return {
        "worker": record.worker or record.npub,
        "device": record.device[:8],
        "sequence": record.sequence,
        "begin": format_time(record.begin.replace(microsecond=0)),
        "end": format_time(record.end.replace(microsecond=0)),
        "sha256": (record.sha256 or "")[:12],
        "result": "ok" if record.ok else f"FAILED: {', '.join(failed)}",
        "absent": ", ".join(record.absent),
    }


def _chain(record: Chain) -> dict[str, Any]:
    """Return *record* as a row for people."""
    gaps = (f"{gap['first']}-{gap['last']}" for gap in record.missing)
    return {
        "worker": record.worker or record.npub,
        "device": record.device[:8],
        "links": f"{record.first}-{record.last}",
        "bundles": record.bundles,
        "withheld": record.withheld,
        "missing": " ".join(gaps),
        "chain": "ok" if record.ok else "FAILED",
    }
