"""How a Kimai is set up, as far as a token sees it, and what of that stands in the way of a sync.

Nothing is written there: what a role may do is told by Kimai's own permissions, which an administrator
may have changed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from powdo.adapters.kimai.sync import Syncer
from powdo.adapters.kimai.telling import Person
from powdo.errors import RefusedError
from powdo.worktime.rules import Rule

_ROLES = ("user", "team lead", "administrator", "super administrator")
#: What this client was written and is tested against.
_TESTED = "2."


class Finding(NamedTuple):
    """One thing about Kimai: *state* is `ok`, `warning` or `error`."""

    what: str
    state: Literal["ok", "warning", "error"]
    value: str
    hint: str = ""


def findings(
    syncer: Syncer, people: Sequence[Person], rules: Iterable[Rule], *, create: bool
) -> Iterator[Finding]:
    """Yield what is found with the token of *syncer*, which sends the timesheets of *people*."""
    account = syncer.client.account
    yield _url(syncer.client.url)
    old = not account.version.startswith(_TESTED)
    yield Finding(
        "version",
        "warning" if old else "ok",
        account.version,
        "powdo is tested against Kimai 2" if old else "",
    )
    yield Finding("token", "ok", f"user {account.id}, {account.username}, {_ROLES[account.rank]}")
    yield _tracking_mode(syncer)
    yield from _rights(syncer, people, create=create)
    yield from _zones(syncer, people)
    yield from _names(syncer, rules)


def _url(url: str) -> Finding:
    host = urlsplit(url).hostname or ""
    try:
        found = {str(item[4][0]) for item in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        found = set()
    public = sorted(one for one in found if ipaddress.ip_address(one.partition("%")[0]).is_global)
    if public:
        return Finding(
            "url",
            "warning",
            f"{url} is at the public address {', '.join(public)}",
            "keep Kimai on this machine or in a private network: it holds who worked when for whom",
        )
    return Finding("url", "ok", url)


def _tracking_mode(syncer: Syncer) -> Finding:
    account = syncer.client.account
    if account.tracking_mode == "default":
        return Finding("tracking mode", "ok", "default")
    return Finding(
        "tracking mode",
        "warning" if account.rank else "error",
        account.tracking_mode,
        "plain users cannot send begin and end: set it to 'default' in Kimai",
    )


def _rights(syncer: Syncer, people: Sequence[Person], *, create: bool) -> Iterator[Finding]:
    account = syncer.client.account
    for person in people:
        user = syncer.user(person)
        if user == account.id:
            yield Finding(f"timesheets of {person.name}", "ok", f"the token's own, user {user}")
        elif account.rank == 0:
            yield Finding(
                f"timesheets of {person.name}",
                "error",
                f"user {user}, for whom a plain user cannot send",
                "use the token of a team lead or administrator, or one of the worker's in [[kimai.worker]]",
            )
        else:
            hint = "a team lead reaches only the members of their own teams" if account.rank == 1 else ""
            yield Finding(f"timesheets of {person.name}", "ok", f"user {user}, by another's token", hint)
    if create and account.rank < 2:
        yield Finding(
            "create",
            "warning",
            f"wanted, and a {_ROLES[account.rank]} may not",
            "customers, projects and activities are made by administrators",
        )


def _zones(syncer: Syncer, people: Sequence[Person]) -> Iterator[Finding]:
    own = syncer.client.account.zone
    for person in people:
        if syncer.user(person) == syncer.client.account.id and str(person.book.zone) != str(own):
            yield Finding(
                "time zone",
                "warning",
                f"{own} in Kimai, {person.book.zone} for {person.name} here",
                "instants are right all the same; days may begin at another hour",
            )
            return
    yield Finding("time zone", "ok", str(own))


def _names(syncer: Syncer, rules: Iterable[Rule]) -> Iterator[Finding]:
    """Yield what the rules name and Kimai does not have, or has twice."""
    booking = [rule for rule in rules if rule.project is not None and rule.activity is not None]
    wrong = 0
    for rule in booking:
        try:
            syncer.catalogue.resolve(rule.customer, str(rule.project), str(rule.activity))
        except RefusedError as error:
            wrong += 1
            yield Finding(f"rule '{rule.name}'", "error", error.message, error.hint or "")
    if booking and not wrong:
        yield Finding("rules", "ok", f"{len(booking)}, and all that they name is there")
