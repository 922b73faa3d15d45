"""What one client may ask of the relay; the same figures are enforced and told in NIP-11."""

from __future__ import annotations

from dataclasses import dataclass, fields

from powdo.settings.schema import Relay as Section

_DEFAULT = Section()

#: What counts where [relay] says nothing: ten events a second go on for ever, a hundred for some seconds.
_PER_MINUTE = {"events_per_minute": 600, "requests_per_minute": 600, "auths_per_minute": 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits; those that [relay] has are told in powdo.toml(5)."""

    max_message: int = _DEFAULT.max_message
    max_tags: int = _DEFAULT.max_tags
    max_subscriptions: int = _DEFAULT.max_subscriptions
    max_filters: int = _DEFAULT.max_filters
    max_filter_values: int = _DEFAULT.max_filter_values
    max_limit: int = _DEFAULT.max_limit
    max_connections: int = _DEFAULT.max_connections
    max_connections_per_address: int = _DEFAULT.max_connections_per_address
    oldest: int = _DEFAULT.oldest
    newest: int = _DEFAULT.newest
    #: Gift wraps go when they have been here for so long; 0: never.
    retention: int = _DEFAULT.retention
    #: Stored gift wraps of senders unknown, let in by proof of work: for one recipient, and in all.
    stranger_wraps_per_recipient: int = _DEFAULT.stranger_wraps_per_recipient
    stranger_wraps: int = _DEFAULT.stranger_wraps
    #: Of one connection and of one public key that is not on the list; an address has five times as much.
    #: 0: no limit.
    events_per_minute: int = 0
    requests_per_minute: int = 0
    #: Of one connection, and of one address those that prove nothing.
    auths_per_minute: int = 0
    in_flight: int = 512
    waiting: int = 8192
    backlog: int = 4 << 20
    patience: float = 30.0

    @classmethod
    def of(cls, section: Section, *, public: bool) -> Limits:
        """Return the limits in [relay]; a relay that is not *public* limits rates only when told to."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in section._asdict().items() if name in known}
        for name, default in _PER_MINUTE.items():
            if values[name] is None:
                values[name] = default if public else 0
        return cls(**values)
