"""`powdo allow list` and `status`: whom the relay lets in and why, and what is not in step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from powdo.commands.allow.group import allow
from powdo.options import Run, command, network_options, report_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from powdo.adapters.allow import Change


@command(
    "list",
    parent=allow,
    epilog="powdo allow list --json | jq -r 'select(.why == [\"unknown\"]).npub'",
    nothing="the relay's list is empty; `powdo allow sync` tells it whom to let in",
)
@report_options
@network_options
def list_allowed(run: Run, json: bool, headers: bool, timeout: float) -> None:
    """List whom the relay lets in, and why."""
    from powdo import admission
    from powdo.nips.bech32 import encode_npub

    client = admission.connect(run.settings, timeout)
    try:
        listed = client.pubkeys()
    finally:
        client.close()
    reasons = admission.union(run.settings, admission.state(run).pins()).reasons
    rows = [
        {"npub": encode_npub(pubkey), "why": reasons.get(pubkey, ["unknown"])} for pubkey in sorted(listed)
    ]
    run.table(_cells(rows, json=json), json=json, headers=headers)


@command(
    "status",
    parent=allow,
    epilog="powdo allow status || powdo allow sync",
    nothing="the relay's list is in step, and nothing waits",
)
@report_options
@network_options
def status(run: Run, json: bool, headers: bool, timeout: float) -> None:
    """Show each key by which the relay's list differs from what is wanted, and what it was not told yet.

    The status is 0 where both are in step and nothing waits.
    """
    from powdo import admission
    from powdo.errors import KeyRejectedError, PeerProtocolError, RetryLaterError

    admission.required_url(run.settings)
    here = admission.state(run)
    reasons = admission.union(run.settings, here.pins()).reasons
    waiting = {change.pubkey: change for change in here.waiting()}
    listed: frozenset[str] | None = None
    try:
        client = admission.connect(run.settings, timeout)
        try:
            listed = client.pubkeys()
        finally:
            client.close()
    except (KeyRejectedError, PeerProtocolError, RetryLaterError) as error:
        run.fail(error)
    rows = _rows(reasons, waiting, listed)
    run.table(_cells(rows, json=json), json=json, headers=headers)
    if listed is not None and rows:
        states = [row["state"] for row in rows]
        missing, surplus = states.count("missing"), states.count("surplus")
        run.fail(
            RetryLaterError(
                f"not in step: {missing} missing, {surplus} surplus, {len(waiting)} waiting",
                hint="`powdo allow sync` mends it; a surplus that stays is in the relay's own configuration",
            )
        )


def _rows(
    reasons: Mapping[str, list[str]], waiting: Mapping[str, Change], listed: frozenset[str] | None
) -> list[dict[str, Any]]:
    """Return a row for each key that is not in step or waits; *listed* is None if the relay does not say."""
    keys = set(waiting) if listed is None else listed.symmetric_difference(reasons).union(waiting)
    return [
        _row(pubkey, _state(pubkey, reasons, listed), reasons.get(pubkey, []), waiting.get(pubkey))
        for pubkey in sorted(keys)
    ]


def _state(pubkey: str, reasons: Mapping[str, list[str]], listed: frozenset[str] | None) -> str:
    if listed is None:
        return "unknown"
    if (pubkey in listed) == (pubkey in reasons):
        return "in step"
    return "missing" if pubkey in reasons else "surplus"


def _row(pubkey: str, state: str, why: list[str], change: Change | None) -> dict[str, Any]:
    from powdo.lines import format_time
    from powdo.nips.bech32 import encode_npub

    row: dict[str, Any] = {"npub": encode_npub(pubkey), "state": state, "why": why}
    if change is None:
        return row | dict.fromkeys(("waiting", "since", "attempts", "next", "error"))
    return row | {
        "waiting": change.action,
        "since": format_time(change.at.replace(microsecond=0)),
        "attempts": change.attempts,
        "next": format_time(change.not_before.replace(microsecond=0)),
        "error": change.error,
    }


def _cells(rows: list[dict[str, Any]], *, json: bool) -> list[dict[str, Any]]:
    """Return *rows* as they are for JSON, or with their reasons as text for a table."""
    return rows if json else [row | {"why": ", ".join(row["why"])} for row in rows]
