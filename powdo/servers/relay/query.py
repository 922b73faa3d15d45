"""Filters as SQL over the tables of `tables`.

Every query also says who asks: gift wraps exist only for their authenticated recipient, whatever the
filter, and expired events for nobody. So a filter becomes one SELECT for what everybody may see, over the
indexes that hold no wrap, and one for each reader's wraps, over the index of their recipient, which is read
in order: the newest wraps of a recipient cost the same however many there are. The same goes for a filter
with one tag of one value and one kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from powdo.nips.filters import Filter
from powdo.servers.relay.policy import WRAPS

_WRAPS = ",".join(str(kind) for kind in sorted(WRAPS))

Value = str | int | bytes


def is_ephemeral(kind: int) -> bool:
    """Return whether events of *kind* are passed on and never stored."""
    return 20000 <= kind < 30000


@dataclass(slots=True)
class _Conditions:
    """Conditions joined by AND, with the values bound in the order of the text."""

    parts: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)

    def add(self, text: str, *values: Value) -> None:
        self.parts.append(text)
        self.values.extend(values)

    def among(self, column: str, values: Collection[Value]) -> None:
        marks = "?" if len(values) == 1 else ",".join("?" * len(values))
        self.add(f"{column} = ?" if len(values) == 1 else f"{column} IN ({marks})", *values)

    def of_tag(self, table: str, name: str, values: Collection[str], kinds: Collection[int] | None) -> None:
        self.add(f"{table}.name = ?", name)
        self.among(f"{table}.value", values)
        if kinds is not None:
            self.among(f"{table}.kind", kinds)

    def between(self, table: str, asked: Filter) -> None:
        if asked.since is not None:
            self.add(f"{table}.created_at >= ?", asked.since)
        if asked.until is not None:
            self.add(f"{table}.created_at <= ?", asked.until)

    def __str__(self) -> str:
        return " AND ".join(self.parts)


def _stored_kinds(asked: Filter) -> list[int] | None:
    if asked.kinds is None:
        return None
    return [kind for kind in dict.fromkeys(asked.kinds) if not is_ephemeral(kind)]


def select(
    column: str, asked: Filter, *, readers: Iterable[str], now: int, limit: int | None = None
) -> tuple[str, Sequence[Value]] | None:
    """Return SQL and values for the stored events *asked* shows to *readers*, newest first; or None.

    A row holds created_at, id and *column*.
    """
    kinds = _stored_kinds(asked)
    conditions = (kinds, asked.ids, asked.authors, *asked.tags.values())
    if limit == 0 or any(item is not None and not item for item in conditions):
        return None
    parts = [_wraps(column, asked, reader, now) for reader in _recipients(asked, kinds, readers)]
    others = None if kinds is None else [kind for kind in kinds if kind not in WRAPS]
    if others is None or others:
        parts.append(_others(column, asked, others, now))
    if not parts:
        return None
    sql = " UNION ALL ".join(text for text, _ in parts)
    values = [value for _, bound in parts for value in bound]
    if limit is not None:
        sql += " ORDER BY 1 DESC, 2 LIMIT ?"
        values.append(limit)
    return sql, values


def _recipients(asked: Filter, kinds: Collection[int] | None, readers: Iterable[str]) -> list[str]:
    """Return those of *readers* whose wraps *asked* may show: a wrap's only p tag names its recipient."""
    if kinds is not None and WRAPS.isdisjoint(kinds):
        return []
    return [reader for reader in readers if "p" not in asked.tags or reader in asked.tags["p"]]


def _wraps(column: str, asked: Filter, reader: str, now: int) -> tuple[str, Sequence[Value]]:
    where = _Conditions()
    where.add("event.recipient = ?", bytes.fromhex(reader))
    where.between("event", asked)
    _narrow(where, asked, {name: v for name, v in asked.tags.items() if name != "p"}, None, now)
    return _text("event", column, "event", where), where.values


def _others(
    column: str, asked: Filter, kinds: Collection[int] | None, now: int
) -> tuple[str, Sequence[Value]]:
    where = _Conditions()
    tags = {name: list(dict.fromkeys(values)) for name, values in asked.tags.items()}
    driving = None if asked.ids is not None else next((n for n in sorted(tags) if len(tags[n]) == 1), None)
    source, ordered = "event", "event"
    if driving is not None:
        source, ordered = "tag CROSS JOIN event ON event.seq = tag.seq", "tag"  # CROSS: tag is the outer loop
        where.of_tag("tag", driving, tags.pop(driving), kinds)
    where.between(ordered, asked)
    where.add(f"event.recipient IS NULL AND event.kind NOT IN ({_WRAPS})")
    if kinds is not None and driving is None:
        where.among("event.kind", kinds)
    _narrow(where, asked, tags, kinds, now)
    return _text(ordered, column, source, where), where.values


def _narrow(
    where: _Conditions,
    asked: Filter,
    tags: Mapping[str, Collection[str]],
    kinds: Collection[int] | None,
    now: int,
) -> None:
    """Add what is asked for whatever the event: ids, authors, *tags*, and that it has not expired."""
    if asked.ids is not None:
        where.among("event.id", [bytes.fromhex(item) for item in asked.ids])
    if asked.authors is not None:
        where.among("event.pubkey", [bytes.fromhex(item) for item in asked.authors])
    for name in sorted(tags):
        inner = _Conditions()
        inner.of_tag("other", name, tags[name], kinds)
        inner.between("other", asked)
        subquery = f"SELECT other.seq FROM tag AS other WHERE {inner}"  # noqa: S608  # as below
        where.add(f"event.seq IN ({subquery})", *inner.values)
    where.add("(event.expires IS NULL OR event.expires > ?)", now)


def _text(ordered: str, column: str, source: str, where: _Conditions) -> str:
    return (  # only our own words; values are bound
        f"SELECT {ordered}.created_at, event.id, event.{column} FROM {source} WHERE {where}"  # noqa: S608
    )
