"""The relay's admin API: `/admin/allow` below its URL, with the secret as a bearer token.

Rules:
- the secret never follows a redirect, and no proxy of the environment and no ~/.netrc comes between;
- a status decides, never a text: 401 and 403 are about the secret, 408, 429 and 5xx may pass, 404 and 405
  mean that the API is elsewhere, other refusals are for good;
- an answer is believed if it looks like one of the API, is never longer than MAX_ANSWER, and takes no longer
  than PATIENCE times the timeout, however small the pieces it comes in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import requests

from powdo import __version__
from powdo.adapters.allow.order import is_pubkey
from powdo.deadlines import Deadlines, innermost
from powdo.errors import KeyRejectedError, PeerProtocolError, PowdoError, RefusedError, RetryLaterError
from powdo.settings.environment import authorities
from powdo.settings.proxy import way_to

MAX_ANSWER = 16 << 20
#: How many timeouts a whole answer may take; each of its pieces has one.
PATIENCE = 4
_PATH = "/admin/allow"
_ELSEWHERE = "something else than the relay's admin API seems to answer; check url in [allow]"


class _Bearer(requests.auth.AuthBase):
    """Puts the secret on a request; as an auth object it also keeps ~/.netrc out of it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._secret}"
        return request


@dataclass(frozen=True, slots=True)
class Counts:
    """What a sync changed, and how many keys the relay lets in now."""

    added: int
    removed: int
    total: int


class Client:
    """A session with the admin API at *url*; timeouts in seconds.

    Every call raises RetryLaterError, KeyRejectedError, RefusedError or PeerProtocolError.
    """

    def __init__(self, url: str, secret: str, *, timeout: float) -> None:
        if not secret.isascii() or not secret.isprintable() or " " in secret or not secret:
            raise KeyRejectedError("the relay's admin secret is not one word of plain characters")
        self.url = url
        self._timeout = timeout
        self._session = requests.Session()
        self._deadlines = Deadlines(self._session, way_to)
        self._session.trust_env = False
        self._session.verify = authorities()
        self._session.auth = _Bearer(secret)
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"powdo/{__version__}"})

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def add(self, pubkey: str) -> None:
        """Put *pubkey* on the list; one that is there already stays."""
        self._call("POST", _PATH, {"pubkey": pubkey}, empty=True)

    def remove(self, pubkey: str) -> None:
        """Take *pubkey* off the list; one that is not there is no error."""
        status, _ = self._call("DELETE", _PATH, {"pubkey": pubkey}, empty=True, absent=True)
        if status == 404 and pubkey in self.pubkeys():  # who answers 404 may be no admin API at all
            raise self._nonsense("does not find what it lists")

    def pubkeys(self) -> frozenset[str]:
        """Return whom the relay lets in."""
        _, data = self._call("GET", _PATH, None)
        found = data.get("pubkeys")
        if not isinstance(found, list) or not all(map(is_pubkey, found)):
            raise self._nonsense("lists something else than pubkeys")
        return frozenset(found)

    def sync(self, pubkeys: Iterable[str]) -> Counts:
        """Make the list hold *pubkeys* and no others."""
        _, data = self._call("POST", f"{_PATH}/sync", {"pubkeys": sorted(pubkeys)})
        match data:
            case {"added": int(added), "removed": int(removed), "total": int(total)}:
                return Counts(added, removed, total)
        raise self._nonsense("does not say what a sync changed")

    # --- calls ---

    def _call(
        self, method: str, path: str, body: Any, *, empty: bool = False, absent: bool = False
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the object in the answer, which may be *empty*; *absent* allows a 404."""
        try:
            with (
                self._deadlines.within(PATIENCE * self._timeout, self.url),
                self._session.request(
                    method,
                    f"{self.url}{path}",
                    data=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
                    headers={} if body is None else {"Content-Type": "application/json"},
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
        status, data = response.status_code, _object(raw)
        if status in (200, 201):
            if data is None and not (empty and not raw.strip()):
                raise self._nonsense(f"does not answer {method} {path} with a JSON object")
            return status, data or {}
        if status == 404 and absent:
            return status, {}
        raise self._refusal(f"{method} {path}", status, data or {})

    def _read(self, response: requests.Response) -> bytes:
        raw = bytearray()
        for part in response.iter_content(1 << 16):
            raw += part
            if len(raw) > MAX_ANSWER:
                raise self._nonsense(f"answers with more than {MAX_ANSWER} bytes")
        return bytes(raw)

    def _nonsense(self, what: str) -> RetryLaterError:
        return RetryLaterError(f"'{self.url}' {what}", hint=_ELSEWHERE)

    def _refusal(self, what: str, status: int, data: dict[str, Any]) -> PowdoError:
        """Return what an answer other than success means."""
        told = data.get("error")
        reason = told[:200].rstrip(".") if isinstance(told, str) and told else f"status {status}"
        if status == 401:
            return KeyRejectedError(
                f"'{self.url}' rejects the admin secret",
                hint="NOSTR_RELAY_ADMIN_SECRET, or the file it comes from, must be the relay's own",
            )
        if status == 403:
            return KeyRejectedError(
                f"'{self.url}' lets nobody administer it from here",
                hint="it allows that from certain addresses only: see --admin-ip of `powdo relay serve`",
            )
        if status in (408, 429) or status >= 500:
            return RetryLaterError(f"'{self.url}' cannot answer now: {what} gave status {status}")
        if status in (404, 405) or status < 400:
            return PeerProtocolError(f"'{self.url}' answers {what} with status {status}", hint=_ELSEWHERE)
        return RefusedError(f"'{self.url}' refuses: {reason}")


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
