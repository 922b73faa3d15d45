"""Reading all stored events of a filter page by page, newest first, without a hole.

Rules:
- a relay cuts a request where it likes, so a page is followed by another until one is empty;
- the next page ends (`until`) in the second of the oldest event of the last one, because that second
  may have been cut; when nothing there was new, it ends a second earlier;
- a *live* event, which may be dated long ago, can slip into a page. Were it taken for the oldest, all
  between would be skipped. So it never is; when it shows only later that it was one, the page is read again.
"""

from __future__ import annotations

from dataclasses import replace

from powdo.nips.event import Event
from powdo.nips.filters import Filter

PAGE = 500


class History:
    """How far back the stored events of *asked* have been read."""

    def __init__(self, asked: Filter) -> None:
        self._filter = asked
        self._until: int | None = asked.until
        self._previous = self._until
        self._pivot = ""
        self._boundary: frozenset[str] = frozenset()
        self._page: list[tuple[int, str]] = []
        self._live: set[str] = set()

    def request(self) -> Filter:
        """Return the filter of the page to ask for now."""
        return replace(self._filter, until=self._until, limit=PAGE)

    def asked_for(self, event: Event) -> bool:
        """Return whether *event* may stand on the page asked for."""
        return self._until is None or event.created_at <= self._until

    def take(self, event: Event) -> bool:
        """Note an event of the page; return whether it was not on the page before."""
        self._page.append((event.created_at, event.id))
        return event.id not in self._boundary

    def live(self, event_id: str) -> None:
        """Note that an event came live, not from the store."""
        self._live.add(event_id)

    def end_of_page(self) -> bool:
        """Return whether there is another page to ask for."""
        page, self._page = self._page, []
        if self._pivot in self._live:
            self._until, self._pivot, self._boundary = self._previous, "", frozenset()
            return True
        if not page:
            return False
        stored = [item for item in page if item[1] not in self._live]
        # Of a page of live events alone only the newest is sure to stand where the page began.
        step, self._pivot = min(stored) if stored else (max(page)[0], "")
        fresh = any(event_id not in self._boundary for _, event_id in stored or page)
        self._previous = self._until
        self._until = step if fresh else step - 1
        self._boundary = frozenset(i for _, i in page) if fresh else frozenset()
        return self._until >= (self._filter.since or 0)


#: Wraps are dated up to two days back (NIP-59) and may have waited 24 h with their sender; clocks differ.
MARGIN = 2 * 86400 + 86400 + 900


def since_after(last_sync: int | None) -> int | None:
    """Return the `since` that misses nothing after a complete sync at *last_sync*; None asks for all."""
    return None if last_sync is None else max(0, last_sync - MARGIN)
