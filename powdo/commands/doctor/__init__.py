"""powdo doctor: tries every part of this side and says what to do about those that fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from powdo.options import Run, command, network_options, report_options

if TYPE_CHECKING:
    from powdo.commands.doctor.findings import Finding

_SHOWN = ("part", "state", "detail", "fix")


@command("doctor", epilog="powdo doctor\npowdo doctor --json | jq 'select(.state == \"failed\")'")
@network_options
@report_options
def doctor(run: Run, timeout: float, json: bool, headers: bool) -> None:
    """Try every part of this side and tell what to do about those that fail.

    Asks the relays and Blossom servers with a probe that is deleted again, looks at screen and buckets
    without keeping anything, and ends with the status of the worst failure.
    """
    from powdo.errors import worse

    rows = []
    for finding in _findings(run, timeout):
        run.console.status = worse(run.console.status, finding.status)
        rows.append(finding.to_json())
    shown = rows if json else [{name: row[name] for name in _SHOWN} for row in rows]
    run.table(shown, json=json, headers=headers)


def _findings(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield all findings of the sides that the configuration has."""
    from powdo.commands.doctor.machine import machine

    settings = run.settings
    yield from machine(settings)
    if "worker" in settings.sections:
        yield from _worker(run, timeout)
    if settings.is_operator:
        from powdo.commands.doctor.operator import operator

        yield from operator(run, timeout)
    if settings.sections & {"worker", "dvm"}:
        yield from _relays(run, timeout)
    if settings.sections & {"relay", "blossom"}:
        from powdo.commands.doctor.public import public

        yield from public(settings, timeout)


def _worker(run: Run, timeout: float) -> Iterator[Finding]:
    from powdo.commands.doctor import desktop
    from powdo.commands.doctor.findings import attempted, doubtful, good
    from powdo.commands.doctor.servers import blossom

    if run.settings.worker.dvm is None:
        yield doubtful("dvm", "bundles are for nobody yet", "set dvm in [worker] to the DVM's npub")
    else:
        from powdo.nips.bech32 import encode_npub

        yield good("dvm", f"bundles are for {encode_npub(run.settings.worker.dvm)}")
    yield from desktop.desktop(run, timeout)
    yield from attempted("outbox", lambda: desktop.outbox(run))
    yield from attempted("blossom", lambda: blossom(run, timeout))


def _relays(run: Run, timeout: float) -> Iterator[Finding]:
    from powdo.commands.doctor.desktop import clock
    from powdo.commands.doctor.findings import failed
    from powdo.commands.doctor.servers import Relays
    from powdo.errors import PowdoError

    try:
        relays = Relays(run, run.settings.listener(), timeout)
        yield from relays.findings(run.settings.relays())
    except PowdoError as error:
        yield failed("relay", error)
    else:
        yield from clock(relays.clocks)
