"""powdo doctor: tries every part of this side and says what to do about those that fail."""

from __future__ import annotations

from powdo.options import Run, command, network_options, report_options


@command("doctor", epilog="powdo doctor\npowdo doctor --json | jq 'select(.state == \"failed\")'")
@network_options
@report_options
def doctor(run: Run, timeout: float, json: bool, headers: bool) -> None:
    """Try every part of this side and tell what to do about those that fail.

    Asks the relays and Blossom servers with a probe that is deleted again, looks at screen and buckets
    without keeping anything, and ends with the status of the worst failure.
    """
    from powdo.checkup import report
    from powdo.errors import worse

    run.console.status = worse(run.console.status, report(run, timeout, json=json, headers=headers))
