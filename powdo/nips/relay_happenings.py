"""What a relay's messages mean to the client: the events of powdo.nips.relay_session."""

from __future__ import annotations

from dataclasses import dataclass

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event


@dataclass(frozen=True, slots=True)
class Challenged:
    """The relay wants to know who we are; answer with `authenticate` or `decline`."""

    challenge: str


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The relay has taken our AUTH."""


@dataclass(frozen=True, slots=True)
class AuthRefused:
    """The relay has refused our AUTH."""

    message: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The relay's last word on a published event."""

    id: str
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class Received:
    """A checked event of the subscription *key*."""

    key: str
    event: Event


@dataclass(frozen=True, slots=True)
class Synced:
    """All stored events of the subscription *key* have been received."""

    key: str


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The relay has ended the subscription *key* for good."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """The relay says something to a person."""

    message: str


@dataclass(frozen=True, slots=True)
class Forged:
    """The relay sent an event that fails a check; it was left out."""

    error: PeerProtocolError


Happening = (
    Challenged
    | Authenticated
    | AuthRefused
    | Answered
    | Received
    | Synced
    | SubscriptionRefused
    | Noticed
    | Forged
)
