"""POST, PATCH and DELETE of the Kimai double, with everything a Kimai refuses and everything it lets pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.kimai_forms import Form, parse_input
from tests.kimai_rules import BAD, BROKEN, FORBIDDEN, NOT_ALLOWED, NOT_FOUND, Kimai, Reply, Row, User

_INVALID = "The selected choice is invalid."
_DESCRIPTION = 65_535


def _fields(kimai: Kimai, user: User, row: Row | None) -> list[str]:
    fields = ["begin", "end", "project", "activity", "description"]
    if kimai.tracking_mode != "default" and user.rank == 0:
        fields = fields[2:]
    if user.rank >= 2:
        fields += ["fixedRate", "hourlyRate"]
    if user.rank >= 1 or (row is not None and row.id):
        fields.append("user")
    fields.append("tags")
    if user.rank >= 1:
        fields += ["exported", "billable"]
    return fields


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else None


def _times(kimai: Kimai, form: Form, row: Row, body: dict[str, Any], zone: Any) -> Row:
    begin, end = row.begin, row.end
    for name in ("begin", "end"):
        if name not in body:
            continue
        value = None if body[name] is None else parse_input(body[name], zone)
        if value is None and (body[name] is not None or name == "begin"):
            form.child(name, "Please enter a valid date and time.")
        elif name == "begin" and value is not None:
            begin = value
        else:
            end = value
    if end is None:
        return replace(row, begin=begin, end=None)
    if end < begin:
        form.own("The end date must not be earlier than the start date.")
        form.own("Duration cannot be negative.")
        return replace(row, begin=begin, end=end)
    if "begin" in body or "end" in body:
        begin, end = kimai.rounding(begin, end)
    return replace(row, begin=begin, end=end)


def _judge_times(kimai: Kimai, form: Form, row: Row, user: User) -> None:
    end = row.end or datetime.fromtimestamp(kimai.now(), UTC)
    if end == row.begin and not kimai.empty:
        form.own("An empty duration is not allowed.")
    if end - row.begin > kimai.longest:
        form.own("Maximum duration exceeded.")
    if not kimai.future and row.begin.timestamp() > kimai.now() + 60:
        form.own("The begin date cannot be in the future.")
    if user.rank < 2 and kimai.locked_before and row.begin < kimai.locked_before:
        form.own("This period is locked. Please choose a later date.")
    if not kimai.overlapping:
        for other in kimai.rows.values():
            until = other.end or datetime.max.replace(tzinfo=UTC)
            if other.id != row.id and other.user == row.user and other.begin < end and until > row.begin:
                form.own("You already have an entry for this time.")
                break


def _place(kimai: Kimai, form: Form, row: Row, body: dict[str, Any]) -> Row:
    project, activity = _number(body.get("project", row.project)), _number(body.get("activity", row.activity))
    if "project" in body or not row.id:
        entity = kimai.projects.get(project or 0)
        if body.get("project") is None:
            form.child("project", "A project needs to be selected.")
            form.child("project", "This value should not be null.")
        elif entity is None or not entity["visible"] or (entity["end"] or "9") < kimai.today():
            form.child("project", _INVALID)
    if "activity" in body or not row.id:
        known = kimai.activities.get(activity or 0)
        at = kimai.projects.get(project or 0)
        if body.get("activity") is None:
            form.child("activity", "An activity needs to be selected.")
            form.child("activity", "This value should not be null.")
        else:
            fits = known is not None and known["visible"] and known["project"] in {None, project}
            if not fits or (known["project"] is None and at is not None and not at["globalActivities"]):
                form.child("activity", _INVALID)
    return replace(row, project=project or 0, activity=activity or 0)


def _tags(kimai: Kimai, form: Form, row: Row, body: dict[str, Any]) -> Row:
    if "tags" not in body:
        return row
    if not isinstance(body["tags"], str):
        form.child("tags", "This value is not valid.")
        return row
    found = [kimai.tag(name.strip()) for name in body["tags"].split(",") if name.strip()]
    return replace(row, tags=tuple(dict.fromkeys(tag["name"] for tag in found if tag)))  # unknown ones vanish


def _apply(kimai: Kimai, user: User, row: Row, body: dict[str, Any], zone: Any) -> Row | Reply:
    """Return *row* with *body* applied, or the refusal."""
    form = Form(_fields(kimai, user, row), body)
    if form.failed:
        return Reply(400, form.answer())
    row = _tags(kimai, form, _place(kimai, form, row, body), body)
    if "user" in body:
        owner = _number(body["user"])
        if not any(one.id == owner for one in kimai.users.values()) or not user.sees(owner or 0):
            form.child("user", _INVALID)
        row = replace(row, user=owner or 0)
    row = _times(kimai, form, row, body, zone)
    if not form.failed:
        _judge_times(kimai, form, row, user)
    if form.failed:
        return Reply(400, form.answer())
    if "description" in body:
        text = body["description"]
        text = text.strip() if isinstance(text, str) else None
        if text is not None and len(text.encode()) > _DESCRIPTION:
            return BROKEN
        row = replace(row, description=text or None)
    for name in ("exported", "billable"):
        if name in body:
            row = replace(row, **{name: bool(body[name])})
    return row


def create(kimai: Kimai, user: User, body: Any) -> Reply:
    """Answer a POST."""
    if not user.may_write:
        return FORBIDDEN
    if isinstance(body, list):
        body = {"0": body}
    if not isinstance(body, dict):
        return BAD
    now = datetime.fromtimestamp(kimai.now(), UTC)
    owner = _number(body.get("user")) or user.id
    zone = next((one.timezone for one in kimai.users.values() if one.id == owner), "UTC")
    row = _apply(kimai, user, Row(0, user.id, 0, 0, now, None, zone), body, user.zone)
    if isinstance(row, Reply):
        return row
    if row.end is None:
        for other in kimai.rows.values():
            if other.user == row.user and other.end is None:
                other.end = now
    kimai.last += 1
    kimai.rows[kimai.last] = replace(row, id=kimai.last, modified=kimai.now())
    return Reply(200, kimai.rows[kimai.last].show(user.zone, single=True, rates=kimai.rates))


def _change(kimai: Kimai, user: User, row: Row, body: Any) -> Reply:
    if not isinstance(body, dict):
        return BAD
    changed = _apply(kimai, user, row, body, _zone(row))
    if isinstance(changed, Reply):
        return changed
    if changed != row:
        kimai.rows[row.id] = replace(changed, modified=kimai.now())
    return Reply(200, kimai.rows[row.id].show(single=True, rates=kimai.rates))


def _zone(row: Row) -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo(row.zone)


def one(kimai: Kimai, user: User, method: str, number: int, action: str, body: Any) -> Reply:
    """Answer a request about timesheet *number*."""
    row = kimai.rows.get(number)
    if row is None:
        return NOT_FOUND
    if not user.sees(row.user):
        return FORBIDDEN
    if action == "/meta":
        return NOT_FOUND
    if action == "/export" and method == "PATCH":
        if user.rank < 1:
            return FORBIDDEN
        kimai.edit(number, exported=not row.exported)
        return Reply(200, kimai.rows[number].show(single=True, rates=kimai.rates))
    if method in {"GET", "HEAD"}:
        return Reply(200, row.show(single=True, rates=kimai.rates))
    if method not in {"PATCH", "DELETE"}:
        return NOT_ALLOWED
    locked = kimai.locked_before is not None and row.begin < kimai.locked_before
    if not user.may_write or (user.rank < 2 and (row.exported or locked)):
        return FORBIDDEN
    if method == "DELETE":
        del kimai.rows[number]
        return Reply(204)
    return _change(kimai, user, row, body)
