"""Timesheets as the timeclock format that hledger and ledger read: an `i` and an `o` line each.

Rules:
- the account is customer, project and activity, parted by colons; a first part tells several workers apart;
- times are those of the wall clock at the begin: where clocks change meanwhile, the timesheet stays as long;
- what would mean something else in the format (colons and semicolons in names, two blanks) is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta, tzinfo
from typing import Any

from powdo.lines import parse_time

_BLANKS = re.compile(r"\s{2,}|[^\S ]")
_UNNAMED = "-"


def _plain(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return _BLANKS.sub(" ", clean.replace(";", ",")).strip()


def account(row: Mapping[str, Any], *, worker: bool) -> str:
    """Return the account of the timesheet *row*, beginning with its *worker* if that is wanted."""
    parts = [row["user"]] * worker + [row["customer"], row["project"], row["activity"]]
    return ":".join(_plain(part.replace(":", "/")) or _UNNAMED for part in parts if part is not None)


def lines(rows: Iterable[tuple[Mapping[str, Any], tzinfo]], *, worker: bool) -> Iterator[str]:
    """Yield the lines of *rows*, `timesheet` records each with the zone its worker lives in."""
    for row, zone in rows:
        begin = parse_time(row["begin"]).astimezone(zone)
        end = begin.replace(tzinfo=None) + timedelta(seconds=row["seconds"])
        text = _plain(row["description"])
        told = [f"{name}:{_plain(value).replace(',', ' ')}" for name, value in _tags(row)]
        comment = f"  ; {', '.join(told)}" if told else ""
        yield f"i {begin:%Y/%m/%d %H:%M:%S} {account(row, worker=worker)}  {text}{comment}".rstrip()
        yield f"o {end:%Y/%m/%d %H:%M:%S}"


def _tags(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the tags of *row* as hledger has them: a name and a value."""
    for tag in row["tags"]:
        yield _plain(tag).replace(":", "/").replace(" ", "-").replace(",", " "), ""
    if row["billable"] is not None:
        yield "billable", "yes" if row["billable"] else "no"
