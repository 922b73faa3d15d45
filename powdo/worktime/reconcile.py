"""What has to happen in Kimai so that it holds the blocks computed here, and nothing a person changed.

Rules:
- a row of the ledger holds what we asked for and the fingerprint of what Kimai returned, often rounded;
- where Kimai now says something else, a person did it, and the person wins: the time is cut out of the
  recomputation and the entry is left alone;
- so does a person who deleted an entry, and so do entries that are exported or locked;
- a write that was under way when a run died is recognised by what it wanted to achieve;
- blocks are matched to what was sent by the greatest overlap within the same project and activity.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from powdo.worktime.intervals import MINUTE, SECOND, Interval, union

INTENT, SENT, UPDATING, DELETING, DELETED, KEPT = "intent", "sent", "updating", "deleting", "deleted", "kept"

#: How far a server's rounding rules may move a border; time zones differ by more.
ROUNDING = 15 * MINUTE
_MARKER = re.compile(r"\s*\[(powdo-[0-9a-f]{8})\]\s*\Z", re.ASCII)
_LONGEST_BYTES = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTimesheet:
    """One row of the ledger: what we sent, or are about to send, and the fingerprint of what came back."""

    id: str
    worker: int | str
    marker: str
    kimai_id: int | None
    state: str
    begin: int
    end: int
    user: int
    project: int
    activity: int
    tags: tuple[str, ...]
    description: str
    billable: bool | None
    fingerprint: str
    algorithm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One timesheet as Kimai lists it; *end* is None while it runs."""

    id: int
    begin: int
    end: int | None
    user: int
    project: int
    activity: int
    tags: tuple[str, ...]
    description: str
    exported: bool

    @property
    def fingerprint(self) -> str:
        """Return a hash over what a person can change and we would overwrite."""
        parts = (
            self.begin // SECOND,
            -1 if self.end is None else self.end // SECOND,
            self.project,
            self.activity,
        )
        text = "\n".join((*map(str, parts), ",".join(sorted(self.tags)), self.description))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One block with the ids that Kimai knows it by."""

    begin: int
    end: int
    user: int
    project: int
    activity: int
    tags: tuple[str, ...]
    description: str
    billable: bool | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that is a person's now (`edited`, `deleted`), or out of reach (`exported`, `hidden`)."""

    row: SentTimesheet
    listed: Listed | None
    reason: str

    @property
    def walls(self) -> tuple[Interval, ...]:
        """Return the time that no block may take again."""
        own = Interval(self.row.begin, self.row.end)
        if self.listed is None:
            return (own,)
        return (own, Interval(self.listed.begin, self.listed.end or self.row.end))


@dataclass(frozen=True, slots=True)
class Review:
    """The ledger seen against Kimai: rows still ours, rows to keep, rows that are gone by our own hand."""

    ours: tuple[SentTimesheet, ...]
    kept: tuple[Kept, ...]
    gone: tuple[SentTimesheet, ...]

    @property
    def walls(self) -> list[Interval]:
        """Return the time of all kept rows."""
        return union(wall for item in self.kept for wall in item.walls if wall.begin < wall.end)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: the rows and blocks of each action."""

    create: tuple[Wanted, ...]
    update: tuple[tuple[SentTimesheet, Wanted], ...]
    delete: tuple[SentTimesheet, ...]
    unchanged: tuple[tuple[SentTimesheet, Wanted], ...]


# --- texts ---------------------------------------------------------------------------------------


def mark(description: str, marker: str) -> str:
    """Return *description* with *marker* at its end, within the bytes that Kimai's column holds."""
    tail = f"[{marker}]"
    room = _LONGEST_BYTES - len(tail) - 1
    text = description.replace("\x00", "").strip()
    text = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore").rstrip()
    return f"{text} {tail}" if text else tail


def marker_of(description: str) -> str | None:
    """Return the marker at the end of *description*, or None."""
    found = _MARKER.search(description)
    return found[1] if found else None


def without_marker(description: str) -> str:
    """Return *description* as people read it."""
    return _MARKER.sub("", description)


# --- review --------------------------------------------------------------------------------------


def arrived(row: SentTimesheet, listed: Listed) -> bool:
    """Return whether *listed* is what the write of *row* wanted, give or take a server's rounding."""
    return (
        listed.end is not None
        and listed.project == row.project
        and listed.activity == row.activity
        and without_marker(listed.description) == without_marker(mark(row.description, row.marker))
        and abs(listed.begin - row.begin) <= ROUNDING
        and abs(listed.end - row.end) <= ROUNDING
    )


def _look(row: SentTimesheet, listed: Listed | None, *, hidden: bool) -> SentTimesheet | Kept | None:
    """Return *row* if it is still ours, a Kept if it is not, None if our own deletion succeeded."""
    if hidden:
        return Kept(row, None, "hidden")
    if listed is None:
        return None if row.state == DELETING else Kept(replace(row, state=KEPT), None, "deleted")
    if row.state == KEPT:
        return Kept(row, listed, "exported" if listed.exported else "edited")
    if listed.fingerprint != row.fingerprint:
        if row.state != UPDATING or not arrived(row, listed):
            return Kept(replace(row, state=KEPT), listed, "edited")
        row = replace(row, fingerprint=listed.fingerprint, state=SENT)
    elif row.state == DELETING:
        row = replace(row, state=SENT)
    return Kept(row, listed, "exported") if listed.exported else row


def review(
    rows: Iterable[SentTimesheet], listing: Mapping[int, Listed], hidden: Collection[int] = ()
) -> Review:
    """Return who owns each of *rows*, given what Kimai lists by id and what it hides from us.

    Rows without an id are left out.
    """
    ours: list[SentTimesheet] = []
    kept: list[Kept] = []
    gone: list[SentTimesheet] = []
    for row in rows:
        if row.kimai_id is None or row.state == DELETED:
            continue
        seen = _look(row, listing.get(row.kimai_id), hidden=row.kimai_id in hidden)
        if seen is None:
            gone.append(replace(row, state=DELETED))
        elif isinstance(seen, Kept):
            kept.append(seen)
        else:
            ours.append(seen)
    return Review(tuple(ours), tuple(kept), tuple(gone))


# --- plan ----------------------------------------------------------------------------------------


def _same(row: SentTimesheet, want: Wanted) -> bool:
    """Return whether Kimai already holds *want*; an update that never arrived leaves the row `updating`."""
    return (
        row.state == SENT
        and (row.begin, row.end, row.description) == (want.begin, want.end, want.description)
        and set(row.tags) == set(want.tags)
        and row.billable == want.billable
    )


def plan(wanted: Sequence[Wanted], rows: Sequence[SentTimesheet]) -> Plan:
    """Return what turns *rows*, all of them ours, into *wanted*."""
    pairs: list[tuple[int, int, int, int]] = []
    for at, want in enumerate(wanted):
        for number, row in enumerate(rows):
            overlap = min(want.end, row.end) - max(want.begin, row.begin)
            alike = (want.user, want.project, want.activity) == (row.user, row.project, row.activity)
            if overlap > 0 and alike:
                pairs.append((-overlap, want.begin, at, number))
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, at, number in sorted(pairs):
        if at not in matched and number not in taken:
            matched[at] = number
            taken.add(number)
    both = [(rows[number], wanted[at]) for at, number in sorted(matched.items())]
    return Plan(
        create=tuple(want for at, want in enumerate(wanted) if at not in matched),
        update=tuple((row, want) for row, want in both if not _same(row, want)),
        delete=tuple(row for number, row in enumerate(rows) if number not in taken),
        unchanged=tuple((row, want) for row, want in both if _same(row, want)),
    )


def scope(window: Interval, spans: Iterable[Interval], gap: int) -> Interval:
    """Return *window*, grown to the ends of every stretch of *spans* (pauses up to *gap*) that it touches."""
    stretches = union(spans, gap)
    touched = [
        item for item in stretches if item.begin <= window.end + gap and item.end >= window.begin - gap
    ]
    return Interval(
        min([window.begin, *(item.begin for item in touched)]),
        max([window.end, *(item.end for item in touched)]),
    )
