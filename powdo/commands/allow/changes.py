"""`powdo allow add`, `remove` and `flush`: pin keys, unpin them, and tell the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from powdo.commands.allow.group import allow
from powdo.options import Run, command, dry_run_option, network_options

if TYPE_CHECKING:
    from powdo.adapters.allow import Action

_NPUBS = click.argument("npubs", nargs=-1, required=True, metavar="NPUB...")


@command("add", parent=allow, epilog="powdo allow add npub1… npub1…")
@_NPUBS
@network_options
@dry_run_option
def add(run: Run, npubs: tuple[str, ...], timeout: float, dry_run: bool) -> None:
    """Pin each NPUB, so that every sync lets it in, and tell the relay.

    What the relay cannot be told now waits in a queue.
    """
    from powdo import admission

    pubkeys = _pubkeys(npubs)
    admission.required_url(run.settings)
    identities = admission.union(run.settings, ()).identities
    for pubkey in pubkeys:
        if pubkey in identities:
            run.console.warning(
                f"'{_npub(pubkey)}' is a worker's identity, and the relay learns of it",
                hint="relay and Blossom server need to know the worker's access key only",
            )
    _change(run, "add", pubkeys, timeout, dry=dry_run)


@command("remove", parent=allow, epilog="powdo allow remove npub1…")
@_NPUBS
@network_options
@dry_run_option
def remove(run: Run, npubs: tuple[str, ...], timeout: float, dry_run: bool) -> None:
    """Unpin each NPUB, and tell the relay to let it in no longer.

    A key that is wanted for another reason is refused, since the next sync would bring it back.
    """
    from powdo import admission
    from powdo.errors import UsageError

    pubkeys = _pubkeys(npubs)
    admission.required_url(run.settings)
    wanted = admission.union(run.settings, ()).reasons
    for pubkey in pubkeys:
        if pubkey in wanted:
            raise UsageError(
                f"'{_npub(pubkey)}' is wanted still: {', '.join(wanted[pubkey])}",
                hint="a worker leaves with `powdo users remove`; the keys in custody always belong",
            )
    _change(run, "remove", pubkeys, timeout, dry=dry_run)


@command("flush", parent=allow, epilog="powdo allow flush")
@network_options
def flush(run: Run, timeout: float) -> None:
    """Tell the relay now what it could not be told before, whatever its next attempt was to be."""
    from powdo import admission

    admission.required_url(run.settings)
    admission.tell(run, timeout, everything=True)


def _change(run: Run, action: Action, pubkeys: list[str], timeout: float, *, dry: bool) -> None:
    from powdo import admission

    if dry:
        for pubkey in pubkeys:
            run.emit({"action": action, "npub": _npub(pubkey)})
        return
    admission.state(run).ask(action, pubkeys, pin=True)
    admission.tell(run, timeout)


def _pubkeys(npubs: tuple[str, ...]) -> list[str]:
    """Return each of *npubs* once, in hex. Raises: UsageError."""
    from powdo.errors import BadRecordError, UsageError
    from powdo.nips.bech32 import parse_pubkey

    try:
        return list(dict.fromkeys(map(parse_pubkey, npubs)))
    except BadRecordError as error:
        hint = error.hint or "an npub is what `powdo keys show NAME` writes"
        raise UsageError(error.message, hint=hint) from None


def _npub(pubkey: str) -> str:
    from powdo.nips.bech32 import encode_npub

    return encode_npub(pubkey)
