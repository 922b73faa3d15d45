"""Events that are no gift wraps of captures: the latest that was signed of what replaces itself.

Of each address (NIP-01) that was counted from tracked time the latest event is kept, so that the same count
gives the same event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from powdo.adapters.outbox.overview import Overview


class Events(Overview):
    """The events of the outbox."""

    def signed(self, address: str) -> dict[str, Any] | None:
        """Return the latest event that was signed for *address*, or None."""
        rows = self._query("SELECT event FROM signed WHERE address = ?", address)
        return json.loads(rows[0]["event"]) if rows else None

    def keep_signed(self, address: str, event: Mapping[str, Any]) -> None:
        """Keep *event* as the latest one of *address*."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO signed VALUES (?, ?) ON CONFLICT DO UPDATE SET event = excluded.event",
                (address, json.dumps(event, ensure_ascii=False)),
            )
