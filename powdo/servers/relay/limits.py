"""What one client may ask of the relay; the same figures are enforced and told in NIP-11."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits, with defaults that suit a community on a small machine."""

    max_message: int = 256 << 10
    max_tags: int = 2500
    max_subscriptions: int = 32
    max_filters: int = 16
    max_filter_values: int = 2000
    max_limit: int = 500
    max_connections: int = 10_000
    max_connections_per_address: int = 128
    #: A gift wrap is dated up to two days back and may have waited; a profile may be years old.
    oldest: int = 3 * 365 * 86400
    newest: int = 900
    #: Gift wraps go when they have been here for so long; 0: never.
    retention: int = 30 * 86400
    #: Stored gift wraps of senders unknown, let in by proof of work: for one recipient, and in all.
    stranger_wraps_per_recipient: int = 1000
    stranger_wraps: int = 100_000
    #: Of one connection and of one public key that is not on the list; an address has five times as much.
    #: 0: no limit.
    events_per_minute: int = 0
    requests_per_minute: int = 0
    #: Of one address.
    failed_auths_per_minute: int = 0
    in_flight: int = 512
    waiting: int = 8192
    backlog: int = 4 << 20
    patience: float = 30.0
