"""The filter that `pow mine` and `pow request` are: events in, events with proof of work out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from powdo.options import Run

if TYPE_CHECKING:
    from powdo.nips.event import Unsigned

#: Statuses after which no other event could be worked on either: usage, output, key, configuration.
_FATAL = (2, 74, 77, 78)


def each_event(
    run: Run, files: tuple[str, ...], user: str | None, prove: Callable[[Unsigned], Unsigned]
) -> None:
    """Write each event of the input with what *prove* adds, signed by *user* if there is one.

    The key is unlocked for each signature and wiped after it: mining may take hours.

    No signal is held back, as `Run.stage` does: proof of work takes as long as it takes.
    """
    from powdo import stdio
    from powdo.errors import PowdoError
    from powdo.lines import decode_line
    from powdo.nips.bech32 import decode_npub

    author = decode_npub(run.keystore.get(user)["nostr"]["npub"]) if user else None
    for line in stdio.Lines(files):
        try:
            if line.error is not None:
                raise line.error
            mined = prove(_event(decode_line(line.data), author))
            run.emit(mined.to_json() if user is None else _signed(run, mined, user))
        except PowdoError as error:
            if error.status in _FATAL:
                raise
            run.fail(error, line.number or None, line.source)


def _event(record: dict[str, Any], author: str | None) -> Unsigned:
    """Return the event in *record*, which is right if it is signed.

    Raises: BadRecordError, PeerProtocolError.
    """
    from powdo.errors import BadRecordError
    from powdo.nips.event import Event, Unsigned

    if record.get("sig"):
        signed = Event.from_json(record)
        signed.verify()
        event = Unsigned(*signed[1:6])
    else:
        if "pubkey" not in record and author is None:
            raise BadRecordError("the event has no pubkey", hint="name its author with --user")
        absent = {"created_at": int(time.time()), "pubkey": author}
        event = Unsigned.from_fields(absent | record)
        if record.get("id") not in (None, event.id):
            raise BadRecordError("the event has a wrong id")
    if author is not None and event.pubkey != author:
        raise BadRecordError("the event is by somebody else than --user names")
    return event


def _signed(run: Run, event: Unsigned, user: str) -> dict[str, object]:
    from powdo.nips.event import sign

    with run.key(user) as key:
        return sign(event, key, os.urandom(32)).to_json()
