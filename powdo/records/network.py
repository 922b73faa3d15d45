"""The records of clients and servers: what a relay said of an event, where a server listens."""

from __future__ import annotations

from dataclasses import dataclass

from powdo.records import Record, checked, flag, hex32, text


@dataclass(frozen=True, kw_only=True)
class Published(Record):
    """What one relay said of one event."""

    TYPE = "published"

    id: str = checked(hex32)
    relay: str = checked(text)
    accepted: bool = checked(flag)
    message: str = checked(text)


@dataclass(frozen=True, kw_only=True)
class Listening(Record):
    """A server is ready at *url*."""

    TYPE = "listening"

    url: str = checked(text)
