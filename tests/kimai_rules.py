"""What the Kimai double knows and how it judges: users, catalogues, timesheets, and the rules on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.kimai_forms import Form, floor_ceil, parse_input

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """Return the bytes of the answer."""
        return self.data.encode() if isinstance(self.data, str) else json.dumps(self.data).encode()


FORBIDDEN = Reply(403, {"code": 403, "message": "Forbidden"})
NOT_FOUND = Reply(404, {"code": 404, "message": "Not Found"})
BAD = Reply(400, {"code": 400, "message": "Bad Request"})
BROKEN = Reply(500, {"code": 500, "message": "Internal Server Error"})
NOT_ALLOWED = Reply(405, {"code": 405, "message": "Method Not Allowed"})
RANKS = {"USER": 0, "TEAMLEAD": 1, "ADMIN": 2, "SUPER_ADMIN": 3}


@dataclass
class User:
    """One user and what they may do."""

    id: int
    username: str
    role: str = "USER"
    timezone: str = "UTC"
    enabled: bool = True
    api_access: bool = True
    may_write: bool = True
    may_tag: bool = True
    team: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        """How much the role may do."""
        return RANKS[self.role]

    @property
    def zone(self) -> ZoneInfo:
        """The user's time zone."""
        return ZoneInfo(self.timezone)

    def sees(self, other: int) -> bool:
        """Return whether the timesheets of *other* are in sight."""
        return self.id == other or self.rank >= 2 or other in self.team

    def short(self) -> dict[str, Any]:
        """Return the user as lists show them."""
        initials = self.username[:2].upper()
        return {
            "apiToken": False, "locale": "en", "timezone": self.timezone, "language": "en",
            "initials": initials, "color-safe": "#E91E63", "id": self.id, "alias": None, "title": None,
            "avatar": None, "username": self.username, "email": f"{self.username}@example.com",
            "accountNumber": None, "enabled": self.enabled, "systemAccount": False, "color": None,
        }  # fmt: skip


@dataclass
class Row:
    """One timesheet as it is stored."""

    id: int
    user: int
    project: int
    activity: int
    begin: datetime
    end: datetime | None
    zone: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    exported: bool = False
    billable: bool = True
    modified: float = 0.0

    def show(
        self, zone: ZoneInfo | None = None, *, single: bool = False, rates: bool = True
    ) -> dict[str, Any]:
        """Return the row as the API shows it."""
        where = zone or ZoneInfo(self.zone)
        begin, end = (
            None if edge is None else edge.astimezone(where).strftime("%Y-%m-%dT%H:%M:%S%z")
            for edge in (self.begin, self.end)
        )
        length = int((self.end - self.begin).total_seconds()) if self.end else 0
        shown: dict[str, Any] = {"rate": 0.0, "internalRate": 0.0} if rates else {}
        if single and rates:
            shown |= {"fixedRate": None, "hourlyRate": 0.0 if self.end else None}
        return {
            "activity": self.activity, "project": self.project, "user": self.user, "tags": list(self.tags),
            "id": self.id, "begin": begin, "end": end, "duration": length, "break": 0,
            "description": self.description, **shown, "exported": self.exported,
            "billable": self.billable, "metaFields": [],
        }  # fmt: skip


class Kimai:
    """The state of one Kimai, and what an administrator sets."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.users: dict[str, User] = {}
        self.customers: dict[int, dict[str, Any]] = {}
        self.projects: dict[int, dict[str, Any]] = {}
        self.activities: dict[int, dict[str, Any]] = {}
        self.tags: dict[int, dict[str, Any]] = {}
        self.rows: dict[int, Row] = {}
        self.last = 0
        self.tracking_mode = "default"
        self.overlapping = True
        self.future = True
        self.empty = True
        self.rates = True
        self.longest = timedelta(days=366)
        self.locked_before: datetime | None = None
        self.rounding: Callable[[datetime, datetime], tuple[datetime, datetime]] = floor_ceil

    def seed(self) -> None:
        """Make the users, and a customer with a project and an activity."""
        self.people()
        for name in ("ACME", "ACME"):
            self.add_customer(name)
        self.add_project("Website", 1)
        self.add_activity("Development")

    def people(self) -> None:
        """Make a user of every role; a token is the name."""
        for user in (
            User(1, "admin", "SUPER_ADMIN"),
            User(2, "manager", "ADMIN"),
            User(3, "teamlead", "TEAMLEAD"),
            User(4, "alice", timezone="Europe/Berlin"),
            User(5, "bob", timezone="America/New_York"),
        ):
            self.users[user.username] = user

    def website(self) -> None:
        """Make the customer, the project and the activity that most rules of the tests name."""
        self.add_customer("Initech")
        self.add_project("Website", 1)
        self.add_activity("Development")

    # --- behind the API's back -------------------------------------------------------------------

    def add_customer(self, name: str) -> dict[str, Any]:
        """Return a new customer."""
        number = len(self.customers) + 1
        entity = {
            "color-safe": "#FF4136", "id": number, "name": name, "number": f"{number + 1:04}",
            "comment": None, "visible": True, "billable": True, "company": None, "country": "DE",
            "currency": "EUR",
            "phone": None, "fax": None, "mobile": None, "homepage": None, "timezone": "Europe/Berlin",
            "metaFields": [], "teams": [], "color": None,
        }  # fmt: skip
        self.customers[number] = entity
        return entity

    def add_project(
        self, name: str, customer: int, *, start: str | None = None, end: str | None = None,
        visible: bool = True, global_activities: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Return a new project."""
        number = max(self.projects, default=0) + 1
        entity = {
            "parentTitle": self.customers[customer]["name"], "customer": customer, "color-safe": "#FF9800",
            "id": number, "name": name, "orderNumber": None, "orderDate": None, "start": start, "end": end,
            "comment": None, "visible": visible, "billable": True, "metaFields": [], "teams": [],
            "globalActivities": global_activities, "number": f"{number + 1:04}", "color": None,
        }  # fmt: skip
        self.projects[number] = entity
        return entity

    def add_activity(self, name: str, project: int | None = None, *, visible: bool = True) -> dict[str, Any]:
        """Return a new activity, global without a project."""
        number = len(self.activities) + 1
        entity = {
            "parentTitle": self.projects[project]["name"] if project else None, "project": project,
            "color-safe": "#3F51B5", "id": number, "name": name, "comment": None, "visible": visible,
            "billable": True, "metaFields": [], "teams": [], "number": f"{number + 1:04}", "color": None,
        }  # fmt: skip
        self.activities[number] = entity
        return entity

    def add_tag(self, name: str, *, visible: bool) -> dict[str, Any]:
        """Return a new tag."""
        number = len(self.tags) + 1
        self.tags[number] = {
            "color-safe": "#03A9F4", "id": number, "name": name, "visible": visible, "color": None,
        }  # fmt: skip
        return self.tags[number]

    def edit(self, number: int, **values: Any) -> None:
        """Change a timesheet as a person in the browser would."""
        for name, value in values.items():
            setattr(self.rows[number], name, value)
        self.rows[number].modified = self.now()

    # --- routes ----------------------------------------------------------------------------------

    def named(self, user: User, method: str, name: str, query: Pairs, body: Any) -> Reply:
        """Answer a request that names no single timesheet."""
        method = "GET" if method == "HEAD" else method
        get: dict[str, Callable[[], Any]] = {
            "ping": lambda: {"message": "pong"},
            "version": lambda: {"version": "2.65.0", "versionId": 26500, "copyright": "Kimai 2.65.0"},
            "plugins": list,
            "users/me": lambda: self._me(user),
            "config/timesheet": self._config,
            "customers": lambda: self._filtered(self.customers, query),
            "projects": lambda: self._projects(query),
            "activities": lambda: self._activities(query),
            "tags": lambda: [tag["name"] for tag in self._tags(query)],
            "tags/find": lambda: self._tags(query),
        }
        if name == "timesheets":
            handlers = {"GET": lambda: self._list(user, query), "POST": lambda: self._create(user, body)}
            return handlers[method]() if method in handlers else NOT_ALLOWED
        if method == "POST" and name in {"customers", "projects", "activities", "tags"}:
            return self._make(user, name, body)
        if name == "users" and method == "GET":
            return Reply(200, [one.short() for one in self.users.values()]) if user.rank == 3 else FORBIDDEN
        if name not in get:
            return NOT_FOUND
        return Reply(200, get[name]()) if method == "GET" else NOT_ALLOWED

    def _me(self, user: User) -> dict[str, Any]:
        roles = [] if user.rank == 0 else [f"ROLE_{user.role}"]
        return {**user.short(), "roles": roles, "teams": [], "memberships": [], "preferences": []}

    def _config(self) -> dict[str, Any]:
        return {
            "trackingMode": self.tracking_mode, "defaultBeginTime": "now", "activeEntriesHardLimit": 1,
            "isAllowFutureTimes": self.future, "isAllowOverlapping": self.overlapping,
        }  # fmt: skip

    def _filtered(self, items: dict[int, dict[str, Any]], query: Pairs) -> list[dict[str, Any]]:
        wanted = dict(query)
        term = wanted.get("term", "").casefold()
        visible = {"1": (True,), "2": (False,), "3": (True, False)}.get(wanted.get("visible", "1"), (True,))
        found = [item for item in items.values() if item["visible"] in visible]
        return [item for item in found if term in item["name"].casefold()]

    def today(self) -> str:
        """Return the date."""
        return datetime.fromtimestamp(self.now(), UTC).date().isoformat()

    def _projects(self, query: Pairs) -> list[dict[str, Any]]:
        wanted = dict(query)
        found = self._filtered(self.projects, query)
        if "customer" in wanted:
            found = [item for item in found if str(item["customer"]) == wanted["customer"]]
        if wanted.get("ignoreDates") == "1":
            return found
        today = self.today()
        return [item for item in found if (item["start"] or today) <= today <= (item["end"] or today)]

    def _activities(self, query: Pairs) -> list[dict[str, Any]]:
        wanted = dict(query)
        found = self._filtered(self.activities, query)
        if wanted.get("globals") == "1":
            return [item for item in found if item["project"] is None]
        if "project" in wanted:
            return [item for item in found if str(item["project"]) in {wanted["project"], "None"}]
        return found

    def _tags(self, query: Pairs) -> list[dict[str, Any]]:
        part = dict(query).get("name", "").casefold()
        return [tag for tag in self.tags.values() if tag["visible"] and part in tag["name"].casefold()]

    def tag(self, name: str) -> dict[str, Any] | None:
        """Return the tag of that name, whatever its case."""
        return next((tag for tag in self.tags.values() if tag["name"].casefold() == name.casefold()), None)

    # --- making things ---------------------------------------------------------------------------

    def _make(self, user: User, kind: str, body: Any) -> Reply:
        if not isinstance(body, dict):
            return BAD
        if kind == "tags":
            return self._make_tag(user, body)
        if user.rank < 2:
            return FORBIDDEN
        known = {"name", "customer", "project", "visible", "globalActivities", "start", "end", "country"}
        form = Form(sorted(known | {"currency", "timezone", "number", "comment", "color"}), body)
        if len(str(body.get("name", ""))) < 2 or (kind == "customers" and "country" not in body):
            form.child("name", "This value is too short. It should have 2 characters or more.")
        if kind == "projects" and body.get("customer") is None:
            form.child("customer", "This value should not be null.")
        elif kind == "projects" and body["customer"] not in self.customers:
            form.child("customer", "The selected choice is invalid.")
        if form.failed:
            return Reply(400, form.answer())
        visible = body.get("visible", True)
        if kind == "customers":
            return Reply(200, self.add_customer(body["name"]))
        if kind == "projects":
            options = {"start": body.get("start"), "end": body.get("end"), "visible": visible}
            made = self.add_project(body["name"], body["customer"], **options)
        else:
            made = self.add_activity(body["name"], body.get("project"), visible=visible)
        return Reply(200, {**made, "budget": 0.0, "timeBudget": 0, "budgetType": None})

    def _make_tag(self, user: User, body: dict[str, Any]) -> Reply:
        if not user.may_tag:
            return FORBIDDEN
        form = Form(["name", "color", "visible"], body)
        name = str(body.get("name", ""))
        if len(name) < 2:
            form.child("name", "This value is too short. It should have 2 characters or more.")
        elif len(name) > 100:
            form.child("name", "This value is too long. It should have 100 characters or less.")
        elif "," in name:
            form.child("name", "Tag name cannot contain comma")
        elif self.tag(name):
            form.child("name", "This value is already used.")
        if form.failed:
            return Reply(400, form.answer())
        tag = self.add_tag(name, visible=body.get("visible") is True)
        return Reply(200, tag)

    # --- timesheets ------------------------------------------------------------------------------

    def _list(self, user: User, query: Pairs) -> Reply:
        from tests.kimai_lists import listing

        return listing(self, user, query)

    def _create(self, user: User, body: Any) -> Reply:
        from tests.kimai_writes import create

        return create(self, user, body)

    def one(self, user: User, method: str, number: int, action: str, body: Any) -> Reply:
        """Answer a request about one timesheet."""
        from tests.kimai_writes import one

        return one(self, user, method, number, action, body)


__all__ = ["BAD", "BROKEN", "FORBIDDEN", "NOT_FOUND", "Kimai", "Reply", "Row", "User", "parse_input"]
