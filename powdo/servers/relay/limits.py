"""What one client may ask of the relay; the same figures are enforced and told in NIP-11."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits, with defaults that suit a community on a small machine."""

    message: int = 256 << 10
    subscriptions: int = 32
    filters: int = 16
    filter_values: int = 2000
    limit: int = 500
    tags: int = 2500
    connections: int = 10_000
    connections_per_address: int = 128
    #: A gift wrap is dated up to two days back and may have waited; a profile may be years old.
    oldest: int = 3 * 365 * 86400
    newest: int = 900
    in_flight: int = 512
    waiting: int = 8192
    backlog: int = 4 << 20
    patience: float = 30.0
