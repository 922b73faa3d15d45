"""Tries every part of this side and says what to do about those that fail: for `doctor` and `init`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from powdo.errors import PowdoError, worse
from powdo.run import Run

if TYPE_CHECKING:
    from powdo.checkup.findings import Finding

_SHOWN = ("part", "state", "detail", "fix")


def report(run: Run, timeout: float, *, json: bool = False, headers: bool = True) -> int:
    """Write what is found, a row each, and return the exit status of the worst failure."""
    status, rows = 0, []
    for finding in findings(run, timeout):
        status = worse(status, finding.status)
        rows.append(finding.to_json())
    shown = rows if json else [{name: row[name] for name in _SHOWN} for row in rows]
    run.table(shown, json=json, headers=headers)
    return status


def findings(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield all findings of the sides that the configuration has."""
    from powdo.checkup.machine import machine

    settings = run.settings
    yield from machine(settings)
    if "worker" in settings.sections:
        yield from _worker(run, timeout)
    if settings.is_operator:
        from powdo.checkup.operator import operator

        yield from operator(run, timeout)
    if settings.is_operator or settings.allow.url is not None:
        from powdo.checkup.allowlist import allowlist

        yield from allowlist(run, timeout)
    if settings.sections & {"worker", "dvm"}:
        yield from _relays(run, timeout)
    if settings.sections & {"relay", "blossom"}:
        from powdo.checkup.public import public

        yield from public(settings, timeout)


def _worker(run: Run, timeout: float) -> Iterator[Finding]:
    from powdo.checkup import desktop
    from powdo.checkup.findings import attempted, doubtful, good
    from powdo.checkup.servers import blossom

    if run.settings.worker.dvm is None:
        yield doubtful("dvm", "bundles are for nobody yet", "set dvm in [worker] to the DVM's npub")
    else:
        from powdo.nips.bech32 import encode_npub

        yield good("dvm", f"bundles are for {encode_npub(run.settings.worker.dvm)}")
    yield from desktop.desktop(run, timeout)
    yield from attempted("outbox", lambda: desktop.outbox(run))
    yield from attempted("blossom", lambda: blossom(run, timeout))


def _relays(run: Run, timeout: float) -> Iterator[Finding]:
    from powdo.checkup.findings import failed
    from powdo.checkup.servers import Relays, clock

    try:
        relays = Relays(run, run.settings.listener(), timeout)
        yield from relays.findings(run.settings.relays())
    except PowdoError as error:
        yield failed("relay", error)
    else:
        yield from clock(relays.clocks)
