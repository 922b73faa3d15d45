"""Timesheets in Kimai: list, find, create, change, delete.

Rules:
- instants are sent as UTC with `Z`, whole minutes, and what comes back must be the same instant;
- windows of a listing are wall time in the token owner's zone, on an entry's begin, both ends included;
- filters that Kimai ignores without a word are applied here again;
- after an answer to a POST was lost, Kimai is asked for the marker, and nothing is posted twice in one run;
- only fields that are needed are sent: `user` for another's time, `billable` where a rule says so; a change
  never names the project, which may have ended since.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from powdo.adapters.kimai.client import Answer, Client, Refusal, judged, refusal
from powdo.errors import PeerProtocolError, RetryLaterError
from powdo.worktime.intervals import SECOND, Interval
from powdo.worktime.reconcile import ROUNDING, Listed, Wanted, mark, marker_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _instant(value: object) -> int:
    moment = datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def parse_listed(obj: Mapping[str, Any]) -> Listed:
    """Return one timesheet as Kimai wrote it. Raises: PeerProtocolError."""
    try:
        tags = obj["tags"]
        numbers = [obj[name] for name in ("id", "user", "project", "activity")]
        if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers) or not isinstance(
            tags, list
        ):
            raise ValueError("wrong kind")
        return Listed(
            id=obj["id"],
            begin=_instant(obj["begin"]),
            end=None if obj.get("end") is None else _instant(obj["end"]),
            user=obj["user"],
            project=obj["project"],
            activity=obj["activity"],
            tags=tuple(sorted(map(str, tags))),
            description=str(obj.get("description") or ""),
            exported=obj.get("exported") is True,
        )
    except (KeyError, ValueError, TypeError, OverflowError):
        raise PeerProtocolError("kimai lists a timesheet that is none") from None


class Timesheets:
    """The timesheets of a Kimai."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def listing(self, window: Interval, user: int) -> dict[int, Listed]:
        """Return by id what *user* has that begins in *window*."""
        zone = self._client.account.zone
        begin, end = (
            _moment(edge).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")
            for edge in (window.begin, window.end)
        )
        query = [("begin", begin), ("end", end), ("orderBy", "id"), ("order", "ASC"), *self._for(user)]
        rows = (parse_listed(obj) for obj in self._client.pages("/timesheets", query))
        return {row.id: row for row in rows if row.user == user}

    def _for(self, user: int) -> list[tuple[str, str]]:
        return [] if user == self._client.account.id else [("user", str(user))]

    def get(self, number: int) -> Listed | Refusal | None:
        """Return the timesheet *number*, None when Kimai has none, a Refusal when it is out of sight."""
        answer = self._client.call("GET", f"/timesheets/{number}")
        if answer.status == 404:
            return None
        if answer.status == 403:
            return judged(answer)
        if answer.status != 200 or not isinstance(answer.data, dict):
            raise refusal(answer, f"to show timesheet {number}")
        return parse_listed(answer.data)

    def find(self, marker: str, user: int) -> Listed | None:
        """Return the timesheet of *user* that bears *marker*, the oldest if a person copied it."""
        query = [("term", marker), ("orderBy", "id"), ("order", "ASC"), *self._for(user)]
        for obj in self._client.pages("/timesheets", query):
            row = parse_listed(obj)
            if row.user == user and marker_of(row.description) == marker:
                return row
        return None

    def _body(self, want: Wanted, marker: str, tags: tuple[str, ...]) -> dict[str, Any]:
        begin, end = (_moment(edge).strftime("%Y-%m-%dT%H:%M:%SZ") for edge in (want.begin, want.end))
        body: dict[str, Any] = {
            "begin": begin,
            "end": end,
            "description": mark(want.description, marker),
            "tags": ",".join(tags),
        }
        if want.billable is not None:
            body["billable"] = want.billable
        return body

    def create(self, want: Wanted, marker: str, tags: tuple[str, ...]) -> Listed | Refusal:
        """Return the timesheet made of *want*, or Kimai's no.

        Raises: RetryLaterError when neither can be known.
        """
        body = {"project": want.project, "activity": want.activity, **self._body(want, marker, tags)}
        if want.user != self._client.account.id:
            body["user"] = want.user
        try:
            answer = self._client.call("POST", "/timesheets", body=body)
        except RetryLaterError as lost:
            found = self.find(marker, want.user)  # the answer may be lost, and the timesheet not
            if found is None:
                raise lost from None
            return self._check(found, want)
        listed = _outcome(answer)
        if isinstance(listed, Refusal):
            return listed
        try:
            return self._check(listed, want)
        except PeerProtocolError:
            self.delete(listed.id)  # never leave time where nobody worked
            raise

    def update(self, number: int, want: Wanted, marker: str, tags: tuple[str, ...]) -> Listed | Refusal:
        """Return timesheet *number* changed to *want*, or Kimai's no."""
        answer = self._client.call("PATCH", f"/timesheets/{number}", body=self._body(want, marker, tags))
        listed = _outcome(answer)
        return listed if isinstance(listed, Refusal) else self._check(listed, want)

    def delete(self, number: int) -> Refusal | None:
        """Delete timesheet *number*; return Kimai's no, or None."""
        answer = self._client.call("DELETE", f"/timesheets/{number}")
        return None if answer.status in {200, 204} else judged(answer)

    def _check(self, listed: Listed, want: Wanted) -> Listed:
        """Return *listed* when it is what was asked for. Raises: PeerProtocolError."""
        if (listed.user, listed.project, listed.activity) != (want.user, want.project, want.activity):
            raise PeerProtocolError(f"kimai booked timesheet {listed.id} on something else than asked for")
        if listed.end is None or max(abs(listed.begin - want.begin), abs(listed.end - want.end)) > ROUNDING:
            raise PeerProtocolError(
                f"kimai stored timesheet {listed.id} at another time than {span(want)}",
                hint="check the time zone of the token's user in Kimai",
            )
        return listed


def _outcome(answer: Answer) -> Listed | Refusal:
    if answer.status == 200 and isinstance(answer.data, dict):
        return parse_listed(answer.data)
    return judged(answer)


def span(want: Wanted) -> str:
    """Return the period of *want* as people read it."""
    begin, end = (
        _moment(edge // SECOND * SECOND).strftime("%Y-%m-%dT%H:%MZ") for edge in (want.begin, want.end)
    )
    return f"{begin} to {end}"
