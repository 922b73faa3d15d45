"""How the Kimai double reads what is sent: dates, forms, and the shape of its complaints."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_INPUT = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)  # fractions are ignored
_QUERY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_MINUTE = timedelta(minutes=1)


def parse_input(value: Any, zone: ZoneInfo) -> datetime | None:
    """Return the instant of a form field, None when it is none; naive times are in *zone*."""
    match = _INPUT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3] or ''}")
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return moment
    local = moment.replace(tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        before, after = local.utcoffset(), local.replace(fold=1).utcoffset()
        assert before is not None and after is not None
        local = local.replace(fold=1 if before > after else 0)  # the second of two, one hour on in a gap
    return local


def parse_query(value: str, zone: ZoneInfo) -> datetime | None:
    """Return the instant of a query parameter: naive, to the second, nothing else."""
    if not _QUERY.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value).replace(tzinfo=zone)
    except ValueError:
        return None


def floor_ceil(begin: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return begin floored and end ceiled to the minute, as a new Kimai rounds."""
    begin = begin.replace(second=0, microsecond=0)
    whole = end.replace(second=0, microsecond=0)
    return begin, whole if whole == end else whole + _MINUTE


def closest(minutes: int) -> Any:
    """Return rounding of both ends to the closest multiple of *minutes*."""

    def one(moment: datetime) -> datetime:
        step = minutes * 60
        seconds = moment.timestamp()
        return datetime.fromtimestamp((seconds + step / 2) // step * step, moment.tzinfo)

    return lambda begin, end: (one(begin), one(end))


class Form:
    """A form with *fields* filled from *body*; collects complaints."""

    def __init__(self, fields: list[str], body: dict[str, Any]) -> None:
        self._own: list[str] = []
        self._children: dict[str, list[str]] = {name: [] for name in fields}
        if set(body) - set(fields):
            self.own("This form should not contain extra fields.")

    def own(self, text: str) -> None:
        """Complain of the whole."""
        self._own.append(text)

    def child(self, name: str, text: str) -> None:
        """Complain of one field."""
        self._children[name].append(text)

    @property
    def failed(self) -> bool:
        """Whether there is any complaint."""
        return bool(self._own or any(self._children.values()))

    def answer(self) -> dict[str, Any]:
        """Return the body of the 400."""
        errors: dict[str, Any] = {"errors": self._own} if self._own else {}
        errors["children"] = {
            name: {"errors": found} if found else {} for name, found in self._children.items()
        }
        return {"code": 400, "message": "Validation Failed", "errors": errors}
