"""Rewards counted from timesheets: one for each worker and period, the same event for the same count."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from powdo.adapters.database import Worker
    from powdo.adapters.outbox import Outbox
    from powdo.commands.event.signer import Signer
    from powdo.nips.actions import Draft
    from powdo.worktime.rewards import Earned, Period, Tracked


def count(
    signer: Signer,
    files: tuple[str, ...],
    *,
    rate: Decimal,
    unit: str,
    period: Period | None,
    timezone: str | None,
) -> None:
    """Write what the timesheets in *files* are worth, once all are read.

    Raises: BadRecordError, KeyRejectedError, with nothing written.
    """
    from powdo.adapters.outbox import Outbox
    from powdo.commands.event.times import zone
    from powdo.worktime.rewards import earned

    run = signer.run
    place = zone(timezone or run.settings.dvm.timezone)
    found = earned(_timesheets(files), rate=rate, period=period or "month", zone=place)
    if not found:
        return
    people = _People(signer)
    drafts = [_draft(item, people.pubkey(item.user), rate, unit) for item in found]
    journal = Outbox(run.settings.state_dir)
    try:
        for draft in drafts:
            run.emit(_signed(draft, signer, journal))
    finally:
        journal.close()


def _timesheets(files: tuple[str, ...]) -> list[Tracked]:
    """Return all that is read. Raises: what is wrong with a line, since a part would make a wrong sum."""
    from powdo import stdio
    from powdo.errors import BadRecordError, PowdoError
    from powdo.lines import decode_line
    from powdo.records.operator import Timesheet
    from powdo.worktime.rewards import Tracked

    found = []
    for line in stdio.Lines(files):
        try:
            if line.error is not None:
                raise line.error
            sheet = Timesheet.from_json(decode_line(line.data))
            if sheet.end < sheet.begin:
                raise BadRecordError("the timesheet ends before it begins")
        except PowdoError as error:
            where = f"{line.source}: line {line.number}" if line.source else f"line {line.number}"
            raise BadRecordError(
                f"{where}: {error.message}", hint="nothing was written: a part of the timesheets is no reward"
            ) from None
        key = (sheet.user, sheet.begin.isoformat(), sheet.end.isoformat(), sheet.customer or "")
        found.append(Tracked(sheet.user, sheet.begin, sheet.seconds, (*key, sheet.project, sheet.activity)))
    return found


class _People:
    """The public keys under which workers may be named outside: those in custody, else access keys."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._workers: dict[str, Worker] | None = None

    def pubkey(self, user: str) -> str:
        """Return the pubkey of the worker *user*; never an identity. Raises: KeyRejectedError."""
        from powdo.adapters.database import enrolled
        from powdo.errors import KeyRejectedError
        from powdo.nips.bech32 import decode_npub

        settings = self._signer.run.settings
        if self._workers is None:
            self._workers = {worker.name: worker for worker in enrolled(settings.database_url)}
        worker = self._workers.get(user)
        if worker is not None and worker.access_pubkeys:
            return worker.access_pubkeys[0]
        record = self._signer.run.keystore.find(user)
        if record is not None:
            return decode_npub(record["nostr"]["npub"])
        raise KeyRejectedError(
            f"the worker '{user}' has no public key that may be named",
            hint="give them an access key with `powdo users add --access`, or a key in custody",
        )


def _draft(item: Earned, pubkey: str, rate: Decimal, unit: str) -> Draft:
    from powdo.nips.actions import reward as drafted

    tracked = {"period": item.period, "seconds": item.seconds, "rate": str(rate)}
    name = f"{item.period}:{pubkey}"
    return drafted(str(item.amount), unit, to=pubkey, identifier=name, tracked=tracked)


def _signed(draft: Draft, signer: Signer, journal: Outbox) -> dict[str, object]:
    """Return the event of *draft*: the one that was signed before if it says the same, else a later one."""
    from powdo.nips.actions import address_of
    from powdo.nips.event import Event

    now = int(time.time())
    address = address_of(draft.by(signer.pubkey, now)) or ""
    kept = journal.signed(address)
    before = None if kept is None else Event.from_json(kept)
    if before is not None and (before.tags, before.content) == (draft.tags, draft.content):
        return before.to_json()
    # of two events of one second NIP-01 keeps the one with the lower id, whichever was counted last
    event = signer.sign(draft, now if before is None else max(now, before.created_at + 1))
    journal.keep_signed(address, event.to_json())
    return event.to_json()
