"""A text that somebody signed: the content of an event of theirs (NIP-01), such as a link or a statement."""

from __future__ import annotations

from powdo.errors import PeerProtocolError, PowdoError
from powdo.nips.event import Event


def check_signed(value: object, *, kind: int, content: str, author: str, what: str) -> None:
    """Return nothing if *value* is the event of *kind* in which *author* signs *content*.

    Raises: PeerProtocolError, which calls the content *what*.
    """
    try:
        event = Event.from_json(value)
        event.verify()
    except PowdoError as error:
        raise PeerProtocolError(f"the signature of the {what}: {error.message}") from None
    if event.kind != kind or event.content != content:
        raise PeerProtocolError(f"the signature of the {what} is of something else")
    if event.pubkey != author:
        raise PeerProtocolError(f"the {what} is signed by another than the author")
