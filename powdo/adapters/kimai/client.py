"""One connection to Kimai's REST API: the token, the statuses, the paging.

Rules:
- the scheme is spelt `Bearer`, no path ends in a slash, and the token never follows a redirect;
- a status decides, never a text: 401 ends the run, 429, 5xx and what no Kimai says may pass, other refusals
  are for good;
- what comes back is checked before it is believed, is never longer than MAX_ANSWER, and takes no longer
  than PATIENCE times the timeout, however small the pieces it comes in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import requests

from powdo import __version__
from powdo.deadlines import Deadlines, innermost
from powdo.errors import KeyRejectedError, PeerProtocolError, RefusedError, RetryLaterError
from powdo.settings.environment import authorities

MAX_ANSWER = 32 << 20
#: How many timeouts a whole answer may take; each of its pieces has one.
PATIENCE = 4
PAGE = 500
_MAX_PAGES = 10_000

Query = Sequence[tuple[str, str]]
Warn = Callable[[str, str | None], None]


class _Token(requests.auth.AuthBase):
    """Puts the token on a request; as an auth object it also keeps ~/.netrc out of it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, what its JSON holds (None without a body), and its headers."""

    status: int
    data: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose token it is, and how the server is set up."""

    id: int
    username: str
    zone: ZoneInfo
    version: str
    tracking_mode: str
    roles: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """Return how much the roles allow by Kimai's own permissions: 0 is a user, 3 a super admin."""
        return max((_RANKS.get(role, 0) for role in self.roles), default=0)


_RANKS = {"ROLE_TEAMLEAD": 1, "ROLE_ADMIN": 2, "ROLE_SUPER_ADMIN": 3}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Kimai's no: its status, the fields it complained of (`""` is the form as a whole), and its words."""

    status: int
    fields: frozenset[str]
    text: str


def judged(answer: Answer) -> Refusal:
    """Return what Kimai says in an *answer* that is a refusal."""
    told: dict[str, list[str]] = {}
    data = answer.data if isinstance(answer.data, dict) else {}
    errors = data.get("errors")
    if isinstance(errors, dict):
        told[""] = _texts(errors.get("errors"))
        children = errors.get("children")
        for name, child in children.items() if isinstance(children, dict) else ():
            if isinstance(child, dict):
                told[str(name)] = _texts(child.get("errors"))
    told = {name: texts for name, texts in told.items() if texts}
    parts = [f"{name}: {' '.join(texts)}" if name else "; ".join(texts) for name, texts in told.items()]
    reason = "; ".join(parts)[:500] or str(data.get("message") or f"status {answer.status}")[:200]
    return Refusal(answer.status, frozenset(told), reason.rstrip("."))


def refusal(answer: Answer, what: str) -> RefusedError:
    """Return the error that tells why Kimai refused *what*: each field it complained of, and its words."""
    return RefusedError(f"kimai refuses {what}: {judged(answer).text}")


def _texts(value: object) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else []


class Client:
    """A session with one Kimai; *warn* is told what a person should know."""

    def __init__(self, url: str, token: str, *, timeout: float, warn: Warn) -> None:
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise KeyRejectedError("the Kimai token is not one word of plain characters")
        self.url = url.rstrip("/")
        self.warn = warn
        self._timeout = timeout
        self._session = requests.Session()
        self._deadlines = Deadlines(self._session)
        self._session.trust_env = False  # no proxy and no ~/.netrc ever sees the token
        self._session.verify = authorities()
        self._session.auth = _Token(token)
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"powdo/{__version__}"})
        self.account = self._introduce()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _introduce(self) -> Account:
        """Return who we are; warns where the server is set up against us."""
        version = self.get("/version", dict)
        me = self.get("/users/me", dict)
        config = self.get("/config/timesheet", dict)
        roles = me.get("roles")
        try:
            account = Account(
                id=int(me["id"]),
                username=str(me.get("username", "")),
                zone=ZoneInfo(str(me["timezone"])),
                version=str(version.get("version", "unknown")),
                tracking_mode=str(config.get("trackingMode", "default")),
                roles=tuple(map(str, roles)) if isinstance(roles, list) else (),
                config=config,
            )
        except (KeyError, ValueError, TypeError, OSError):
            raise self._nonsense("does not answer as Kimai does") from None
        if account.tracking_mode != "default":
            self.warn(
                f"kimai's tracking mode is '{account.tracking_mode}': plain users cannot send begin and end",
                "set the mode to 'default' in Kimai, or use the token of a user who may see other timesheets",
            )
        return account

    def _nonsense(self, what: str) -> RetryLaterError:
        """Return the error for what no Kimai says: mostly a proxy answers in its place, for a while."""
        return RetryLaterError(
            f"'{self.url}' {what}", hint="something else than Kimai seems to answer; check url in [kimai]"
        )

    # --- calls -----------------------------------------------------------------------------------

    def call(
        self, method: str, path: str, *, query: Query = (), body: Mapping[str, Any] | None = None
    ) -> Answer:
        """Return the answer to one request. Raises: RetryLaterError, KeyRejectedError, PeerProtocolError."""
        target = f"{self.url}/api{path}"
        data = None if body is None else json.dumps(body, ensure_ascii=True).encode()
        try:
            with (
                self._deadlines.within(PATIENCE * self._timeout, self.url),
                self._session.request(
                    method,
                    target,
                    params=list(query),
                    data=data,
                    headers={"Content-Type": "application/json"} if data is not None else {},
                    timeout=self._timeout,
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                raw = self._read(response)
        except requests.Timeout:
            raise RetryLaterError(f"cannot reach '{self.url}': timed out") from None
        except requests.ConnectionError as error:
            raise RetryLaterError(f"cannot reach '{self.url}': {innermost(error)}") from None
        except (requests.RequestException, ValueError) as error:
            raise self._nonsense(f"answers nonsense: {type(error).__name__}") from None
        return self._judge(response, raw, f"{method} {path}")

    def _read(self, response: requests.Response) -> bytes:
        raw = bytearray()
        for part in response.iter_content(1 << 16):
            raw += part
            if len(raw) > MAX_ANSWER:
                raise self._nonsense(f"answers with more than {MAX_ANSWER} bytes")
        return bytes(raw)

    def _judge(self, response: requests.Response, raw: bytes, what: str) -> Answer:
        status = response.status_code
        if status == 401:
            raise KeyRejectedError(
                f"'{self.url}' rejects the token",
                hint="wrong, expired, or its user is disabled; make a new one in Kimai (profile, API access)",
            )
        if status == 429 or status >= 500:
            raise RetryLaterError(f"'{self.url}' cannot answer now: {what} gave status {status}")
        if 300 <= status < 400:
            raise PeerProtocolError(
                f"'{self.url}' redirects {what}; the token is not sent elsewhere",
                hint="name the final address as url in [kimai], https and without a trailing slash",
            )
        try:
            data = json.loads(raw) if raw else None
        except (ValueError, RecursionError):
            raise self._nonsense(f"does not answer {what} with JSON") from None
        return Answer(status, data, response.headers)

    def get(self, path: str, kind: type, query: Query = ()) -> Any:
        """Return what GET *path* holds, a *kind*. Raises: RefusedError."""
        answer = self.call("GET", path, query=query)
        if answer.status == 403:
            raise KeyRejectedError(
                f"kimai forbids GET {path}", hint="the token's user needs the permission 'api_access'"
            )
        if answer.status != 200:
            raise refusal(answer, f"GET {path}")
        if not isinstance(answer.data, kind):
            raise self._nonsense(f"answers GET {path} with the wrong kind of JSON")
        return answer.data

    def pages(self, path: str, query: Query) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a paged list, to the last page that the headers name and no further."""
        last = page = 1
        while page <= last:
            answer = self.call("GET", path, query=[*query, ("size", str(PAGE)), ("page", str(page))])
            if answer.status == 404 and page > 1:
                return  # entries went away meanwhile
            if answer.status != 200:
                raise refusal(answer, f"GET {path}")
            total = answer.headers.get("X-Total-Pages", "1")
            if not isinstance(answer.data, list) or not total.isascii() or not total.isdigit():
                raise self._nonsense(f"answers GET {path} with the wrong kind of JSON")
            last = min(int(total), _MAX_PAGES)
            yield from (item for item in answer.data if isinstance(item, dict))
            page += 1
