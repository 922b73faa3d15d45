"""GET /api/timesheets of the Kimai double: paging, strict dates, and filters that are silently ignored."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

from tests.kimai_forms import parse_query
from tests.kimai_rules import BAD, NOT_FOUND, Kimai, Pairs, Reply, Row, User

_ORDERS = {"id", "begin", "end", "rate", "project", "activity", "customer"}
_FOREVER = datetime.max.replace(tzinfo=UTC)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFD", text.casefold()).encode("ascii", "ignore").decode()


def _like(word: str, text: str) -> bool:
    """Return whether SQL's LIKE '%word%' holds; % and _ are wildcards."""
    import re

    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in _plain(word)]
    return re.search("".join(parts), _plain(text), re.DOTALL) is not None


def _term(rows: list[Row], term: str) -> list[Row]:
    for word in term.split():
        if ":" in word.strip('"'):
            return []  # read as the value of a meta field
        negated = word.startswith("!")
        sought = word.removeprefix("!")
        rows = [
            row for row in rows if row.description is not None and _like(sought, row.description) != negated
        ] if not negated else [row for row in rows if not _like(sought, row.description or "")]  # fmt: skip
    return rows


def _whose(kimai: Kimai, user: User, query: Pairs) -> list[Row]:
    wanted = dict(query)
    asked = wanted.get("user") or next((value for key, value in query if key == "users[]"), None)
    if asked is None or user.rank == 0:  # without the right to see others the filter is ignored
        ids = {user.id}
    elif asked == "all":
        ids = {row.user for row in kimai.rows.values() if user.sees(row.user)}
    else:
        ids = {int(value) for key, value in query if key in {"user", "users[]"} and value.isdigit()}
    return [row for row in kimai.rows.values() if row.user in ids]


def _switch(rows: list[Row], wanted: dict[str, str]) -> list[Row]:
    for name, state in (("exported", "exported"), ("billable", "billable")):
        if wanted.get(name) in {"0", "1"}:
            rows = [row for row in rows if getattr(row, state) == (wanted[name] == "1")]
    if wanted.get("active") in {"0", "1"}:
        rows = [row for row in rows if (row.end is None) == (wanted["active"] == "1")]
    return rows


def listing(kimai: Kimai, user: User, query: Pairs) -> Reply:
    """Return one page."""
    wanted = dict(query)
    if "tags" in wanted or wanted.get("order", "DESC") not in {"ASC", "DESC"}:
        return BAD
    if wanted.get("orderBy", "begin") not in _ORDERS or not wanted.get("size", "50").isdigit():
        return BAD
    rows = _switch(_whose(kimai, user, query), wanted)
    for name, zone in (("begin", user.zone), ("end", user.zone), ("modified_after", UTC)):
        if name not in wanted:
            continue
        edge = parse_query(wanted[name], zone)  # type: ignore[arg-type]  # UTC is a zone as well
        if edge is None:
            return BAD
        if name == "modified_after":
            rows = [row for row in rows if row.modified >= edge.timestamp()]
        else:
            rows = [row for row in rows if (row.begin >= edge if name == "begin" else row.begin <= edge)]
    tags = [value for key, value in query if key == "tags[]"]
    if tags:
        known = {tag["name"] for tag in map(kimai.tag, tags) if tag is not None and tag["visible"]}
        if not known:
            return BAD
        rows = [row for row in rows if known & set(row.tags)]
    if wanted.get("project", "").isdigit() and int(wanted["project"]) in kimai.projects:
        rows = [row for row in rows if str(row.project) == wanted["project"]]
    return _page(_term(rows, wanted.get("term", "")), wanted, rates=kimai.rates)


def _page(rows: list[Row], wanted: dict[str, str], *, rates: bool) -> Reply:
    key: Any = (lambda row: row.id) if wanted.get("orderBy") == "id" else (lambda row: (row.begin, row.id))
    rows.sort(key=key, reverse=wanted.get("order", "DESC") == "DESC")
    size = min(int(wanted.get("size", "50")) or 50, 500)
    page = max(int(wanted.get("page", "1") or "1"), 1)
    pages = max(-(-len(rows) // size), 1)
    if page > pages:
        return NOT_FOUND
    headers = {
        "X-Page": str(page), "X-Total-Count": str(len(rows)),
        "X-Total-Pages": str(pages), "X-Per-Page": str(size),
    }  # fmt: skip
    return Reply(200, [row.show(rates=rates) for row in rows[(page - 1) * size : page * size]], headers)
