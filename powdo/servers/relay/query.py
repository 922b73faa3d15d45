"""Filters as SQL over the tables of `store`.

Every query also says who asks: gift wraps exist only for their authenticated recipient, whatever the
filter, and expired events for nobody. A filter with one tag of one value is read in the order of the
tag's index, so that the newest wraps of a recipient cost the same however many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
    columns: str, asked: Filter, *, readers: Iterable[str], now: int, limit: int | None = None
) -> tuple[str, Sequence[Value]] | None:
    """Return SQL and values for the stored events *asked* shows to *readers*, newest first; or None."""
    kinds = _stored_kinds(asked)
    tags = {name: list(dict.fromkeys(values)) for name, values in (asked.tags or {}).items()}
    if limit == 0 or any(
        item is not None and not item for item in (kinds, asked.ids, asked.authors, *tags.values())
    ):
        return None
    where = _Conditions()
    driving = None if asked.ids is not None else next((n for n in sorted(tags) if len(tags[n]) == 1), None)
    source, ordered = "event", "event"
    if driving is not None:
        source, ordered = "tag CROSS JOIN event ON event.seq = tag.seq", "tag"  # CROSS: tag is the outer loop
        where.of_tag("tag", driving, tags.pop(driving), kinds)
    where.between(ordered, asked)
    if asked.ids is not None:
        where.among("event.id", [bytes.fromhex(item) for item in asked.ids])
    if asked.authors is not None:
        where.among("event.pubkey", [bytes.fromhex(item) for item in asked.authors])
    if kinds is not None and driving is None:
        where.among("event.kind", kinds)
    for name in sorted(tags):
        inner = _Conditions()
        inner.of_tag("other", name, tags[name], kinds)
        inner.between("other", asked)
        subquery = f"SELECT other.seq FROM tag AS other WHERE {inner}"  # noqa: S608  # as below
        where.add(f"event.seq IN ({subquery})", *inner.values)
    _visible(where, readers, now)
    sql = f"SELECT {columns} FROM {source} WHERE {where}"  # noqa: S608  # only our own words; values are bound
    if limit is not None:
        sql += f" ORDER BY {ordered}.created_at DESC, event.id LIMIT ?"
        where.values.append(limit)
    return sql, where.values


def _visible(where: _Conditions, readers: Iterable[str], now: int) -> None:
    others = f"event.kind NOT IN ({_WRAPS})"
    mine = [bytes.fromhex(reader) for reader in readers]
    if mine:
        marks = ",".join("?" * len(mine))
        where.add(f"({others} OR event.recipient IN ({marks}))", *mine)
    else:
        where.add(others)
    where.add("(event.expires IS NULL OR event.expires > ?)", now)
