"""`powdo verify`: what is stored, held against what was signed; nothing derived is believed."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from powdo.errors import PowdoError, UsageError
from powdo.options import Run, command, period_options, report_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from powdo.records.operator import Chain, Verified
    from powdo.settings.periods import Period


@command(
    "verify",
    epilog="powdo verify --last month\n"
    "powdo verify --user ana --json | jq -c 'select(.ok | not) | [.sequence, .problems]'\n"
    "powdo verify --user ana --last month --export november --screenshots all\n"
    "powdo verify november --worker npub1… --dvm npub1…",
    nothing="no bundles were found; another --since or --user may have some",
)
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@period_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@click.option(
    "--export", metavar="DIR", type=click.Path(path_type=Path), help="Write what proves it into the new DIR."
)
@click.option(
    "--screenshots",
    metavar="WHICH",
    multiple=True,
    help="Export these too: all, a period FROM..TO, or the start of a sha256.",
)
@click.option("--worker", metavar="NPUB", multiple=True, help="Believe links in DIR that NPUB signed.")
@click.option("--dvm", metavar="NPUB", help="Believe receipts in DIR that NPUB signed.")
@report_options
def verify(
    run: Run,
    folder: Path | None,
    period: Period,
    user: str | None,
    export: Path | None,
    screenshots: tuple[str, ...],
    worker: tuple[str, ...],
    dvm: str | None,
    json: bool,
    headers: bool,
) -> None:
    """Check what is stored against everything that was signed.

    With DIR, check an export instead: without a database, keys or network, but for the npubs of whom it is.
    """
    if folder is not None:
        if user is not None or export is not None or screenshots or any(period[1:]):
            raise UsageError("an export is checked as a whole", hint="give --worker and --dvm alone")
        _exported(run, folder, worker, dvm, json=json, headers=headers)
        return
    if worker or dvm is not None:
        raise UsageError("--worker and --dvm are for an export", hint="name its folder")
    if screenshots and export is None:
        raise UsageError("--screenshots are exported", hint="say where to with --export")
    _stored(run, Wish(period, user, export, screenshots), json=json, headers=headers)


class Wish(NamedTuple):
    """What of the stored bundles is looked at, and exported."""

    period: Period
    user: str | None
    export: Path | None
    screenshots: tuple[str, ...]


def _stored(run: Run, wish: Wish, *, json: bool, headers: bool) -> None:
    from powdo.adapters.database import Database, Store
    from powdo.commands.verify.bundles import Examiner
    from powdo.commands.verify.choice import parse_choice
    from powdo.commands.verify.export import Export
    from powdo.commands.verify.stored import Selection, looked_at

    settings, chosen = run.settings, parse_choice(wish.screenshots)
    evidence = settings.data_dir / "evidence"
    with closing(Store(Database(settings.database_url, create=False))) as store, ExitStack() as stack:
        key = run.key(settings.user())
        selection = Selection(run, store, wish.period, wish.user)
        export = None
        if wish.export is not None:
            export = stack.enter_context(Export(wish.export.absolute(), evidence, chosen))
        records = looked_at(selection, store, Examiner(key, evidence), export)
        _report(run, records, selection.count(), json=json, headers=headers)
        if export is not None:
            pubkeys = [pubkey for worker, *_ in selection.workers for pubkey in worker.pubkeys]
            words = dict(zip(("since", "until", "last"), wish.period[1:], strict=True))
            export.about(key.pubkey, pubkeys, words)


def _exported(
    run: Run, folder: Path, worker: tuple[str, ...], dvm: str | None, *, json: bool, headers: bool
) -> None:
    from powdo.commands.verify.exported import Exported
    from powdo.nips.bech32 import parse_pubkey

    if not worker or dvm is None:
        raise UsageError(
            "whose signatures count in an export must be said",
            hint="ask the worker and the operator for their npubs, and give --worker and --dvm",
        )
    try:
        pubkeys, operator = [parse_pubkey(npub) for npub in worker], parse_pubkey(dvm)
    except PowdoError as error:
        raise UsageError(error.message, hint="an npub is what `powdo keys show NAME` writes") from None
    exported = Exported(folder, pubkeys, operator)
    _report(run, exported.records(), exported.count, json=json, headers=headers)
    for complaint in exported.complaints:
        run.fail(complaint)


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

    owner = record.worker or record.npub
    whose = f" of '{owner}'" if owner else ""
    if isinstance(record, Verified):
        for problem in record.problems:
            which = f"bundle {record.sequence}{whose} on device '{record.device}'"
            run.fail(PeerProtocolError(f"{which}: {problem['check']}: {problem['reason']}"))
        return
    for text in record.problems:
        run.fail(PeerProtocolError(f"chain{whose}: {text}"))


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
