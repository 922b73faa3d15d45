"""Customers, projects, activities and tags of a Kimai, and how the names in rules find them.

Rules:
- a name is an exact name, else the same without regard to case, else an id;
- a name that several things bear is told with their ids, never guessed; an activity of the project itself
  goes before a global one;
- tags are created visible, since Kimai drops what it does not know and cannot filter by what is hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from powdo.adapters.kimai.client import Client, refusal
from powdo.errors import RefusedError, RetryLaterError


@dataclass(frozen=True, slots=True)
class Booking:
    """A project and an activity with the names that people know them by."""

    project: int
    activity: int
    customer_name: str | None
    project_name: str
    activity_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustomers:
    """What Kimai wants to know of a customer beside the name: codes of country and currency, a time zone."""

    country: str
    currency: str
    timezone: str


_ALL = (("visible", "3"), ("orderBy", "id"), ("order", "ASC"))
_CACHED = ("customers", "projects", "activities", "_tags")


class Catalogue:
    """What a Kimai knows, read once; *create* makes missing projects and activities.

    Missing customers too, once *customers* says what they are to be like.
    """

    def __init__(
        self, client: Client, *, create: bool = False, customers: NewCustomers | None = None
    ) -> None:
        self._client = client
        self._create = create
        self._new = customers
        self._found: dict[tuple[str | None, str, str], Booking | RefusedError] = {}

    def forget(self) -> None:
        """Read everything anew when it is asked for next."""
        self._found.clear()
        for name in _CACHED:
            self.__dict__.pop(name, None)

    def _read(self, path: str, extra: tuple[tuple[str, str], ...] = ()) -> dict[int, Mapping[str, Any]]:
        items = self._client.get(path, list, [*_ALL, *extra])
        return {
            item["id"]: item for item in items if isinstance(item, dict) and isinstance(item.get("id"), int)
        }

    @cached_property
    def customers(self) -> dict[int, Mapping[str, Any]]:
        """All customers by id."""
        return self._read("/customers")

    @cached_property
    def projects(self) -> dict[int, Mapping[str, Any]]:
        """All projects by id, those out of their dates too."""
        return self._read("/projects", (("ignoreDates", "1"),))

    @cached_property
    def activities(self) -> dict[int, Mapping[str, Any]]:
        """All activities by id."""
        return self._read("/activities")

    # --- names -----------------------------------------------------------------------------------

    def booking(self, project: int, activity: int) -> Booking:
        """Return the names behind two ids, `#id` where Kimai shows none."""
        entry = self.projects.get(project, {})
        customer = self.customers.get(entry.get("customer", 0), {}).get("name")
        return Booking(
            project,
            activity,
            str(customer) if customer is not None else None,
            str(entry.get("name", f"#{project}")),
            str(self.activities.get(activity, {}).get("name", f"#{activity}")),
        )

    def resolve(self, customer: str | None, project: str, activity: str) -> Booking:
        """Return what the names in a rule mean. Raises: RefusedError when nothing or several things."""
        key = (customer, project, activity)
        if key not in self._found:
            try:
                self._found[key] = self._resolve(customer, project, activity)
            except RefusedError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, RefusedError):
            raise found
        return found

    def _resolve(self, customer: str | None, project: str, activity: str) -> Booking:
        projects: Iterable[Mapping[str, Any]] = self.projects.values()
        owners: list[int] = []
        if customer is not None:
            owners = self._owners(customer)
            projects = [item for item in projects if item.get("customer") in owners]
        found = _named(projects, project)
        if not found and self._create and len(owners) == 1:
            found = [self._make("/projects", project, {"customer": owners[0], "globalActivities": True})]
            self.projects[found[0]["id"]] = found[0]
        place = self._only(found, "project", project, f" of customer '{customer}'" if customer else "")
        return self.booking(place["id"], self._activity(place, activity)["id"])

    def _owners(self, customer: str) -> list[int]:
        """Return the ids that *customer* names; projects tell several of one name apart."""
        owners = [item["id"] for item in _named(self.customers.values(), customer)]
        if owners:
            return owners
        if self._create and self._new is not None:
            made = self._make("/customers", customer, asdict(self._new))
            self.customers[made["id"]] = made
            return [made["id"]]
        if not self._create:
            hint = "correct the rule, or create it: --create, or create = true in [kimai]"
        else:
            hint = "correct the rule, or set country and currency in [kimai], which Kimai wants of a customer"
        raise RefusedError(f"kimai has no customer '{customer}' that the token may see", hint=hint)

    def _activity(self, place: Mapping[str, Any], activity: str) -> Mapping[str, Any]:
        own = _named(
            (item for item in self.activities.values() if item.get("project") == place["id"]), activity
        )
        if own or place.get("globalActivities") is False:
            found = own
        else:
            found = _named(
                (item for item in self.activities.values() if item.get("project") is None), activity
            )
        if not found and self._create:
            found = [self._make("/activities", activity, {"project": place["id"]})]
            self.activities[found[0]["id"]] = found[0]
        return self._only(found, "activity", activity, f" for project '{place.get('name')}'")

    def _only(self, found: list[Mapping[str, Any]], kind: str, name: str, where: str) -> Mapping[str, Any]:
        if not found:
            hint = "correct the rule, or create it: --create, or create = true in [kimai]"
            if self._create:
                hint = "name the customer in the rule: a project is created only where that is clear"
            raise RefusedError(f"kimai has no {kind} '{name}'{where} that the token may see", hint=hint)
        if len(found) > 1:
            ids = ", ".join(str(item["id"]) for item in found)
            raise RefusedError(
                f"'{name}' is the name of {len(found)} {kind} entries in kimai{where}: ids {ids}",
                hint=f"name the customer too, or write {kind} = ID in the rule",
            )
        return found[0]

    def _make(self, path: str, name: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._client.call("POST", path, body={"name": name, "visible": True, **fields})
        if (
            answer.status != 200
            or not isinstance(answer.data, dict)
            or not isinstance(answer.data.get("id"), int)
        ):
            raise refusal(answer, f"to create '{name}'")
        return answer.data

    # --- tags ------------------------------------------------------------------------------------

    @cached_property
    def _tags(self) -> dict[str, str]:
        return self._visible_tags()

    def _visible_tags(self) -> dict[str, str]:
        return {name.casefold(): name for name in self._client.get("/tags", list) if isinstance(name, str)}

    def ensure_tags(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return *names* as Kimai spells them, each created visible where it was missing."""
        result: list[str] = []
        for name in names:
            if name.casefold() not in self._tags:
                self._tags.setdefault(name.casefold(), self._create_tag(name))
            result.append(self._tags[name.casefold()])
        return tuple(dict.fromkeys(tag for tag in result if tag))

    def _create_tag(self, name: str) -> str:
        """Return the spelling of a tag that was missing; another client may be making it just now."""
        try:
            answer = self._client.call("POST", "/tags", body={"name": name, "visible": True})
        except RetryLaterError:
            answer = None  # a race for the unique index ends in a 500
        if answer is not None and answer.status == 200:
            return name
        there = self._visible_tags().get(name.casefold())
        if there is not None:
            return there
        if answer is None:
            raise RetryLaterError(f"kimai could not create the tag '{name}'")
        if answer.status == 400 and 2 <= len(name) <= 100 and "," not in name:  # the name is taken, so hidden
            self._client.warn(f"the tag '{name}' is hidden in kimai and cannot be filtered by", None)
            return name
        self._client.warn(
            f"the tag '{name}' is left out: {refusal(answer, 'to create it').message}",
            "create it in Kimai, or give the token's user the permission 'create_tag'",
        )
        return ""


def _named(items: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Return the *items* that *name* names; visible ones before hidden ones of the same name."""
    pool = list(items)
    exact = [item for item in pool if item.get("name") == name]
    loose = [item for item in pool if str(item.get("name", "")).casefold() == name.casefold()]
    found = exact or loose
    if not found and name.isascii() and name.isdigit():
        found = [item for item in pool if item["id"] == int(name)]
    return [item for item in found if item.get("visible") is not False] or found
