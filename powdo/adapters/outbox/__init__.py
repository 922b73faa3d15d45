"""The worker's durable queue: what was captured, and how far each capture has come.

One SQLite file and a folder a capture. A capture passes through the states

    captured → bundled → uploaded → wrapped → published → acknowledged

and each step is committed before its record is written, so whatever dies in between, the next
`--pending` run takes it from where it stands. A capture's plaintext folder is deleted once its bundle
is durable; of one that was dropped, `withheld`, only its place in the chain is left; one that the DVM
refused is `rejected`. Steps of one kind exclude each other by flock, never by pid files.
"""

from __future__ import annotations

from powdo.adapters.outbox.captures import Entry
from powdo.adapters.outbox.overview import Queue
from powdo.adapters.outbox.resending import RESENDS, Unanswered
from powdo.adapters.outbox.wraps import STALE_WRAP_SECONDS, Delivery, Outbox, Wrap

__all__ = ["RESENDS", "STALE_WRAP_SECONDS", "Delivery", "Entry", "Outbox", "Queue", "Unanswered", "Wrap"]
