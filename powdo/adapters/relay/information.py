"""What a relay tells of itself to whoever asks (NIP-11), by HTTP at its own address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3

from powdo.deadlines import Deadlines, innermost
from powdo.errors import BadRecordError, RetryLaterError
from powdo.lines import decode_json
from powdo.settings.environment import authorities
from powdo.settings.proxy import way_to
from powdo.settings.units import is_loopback

_LONGEST = 1 << 20
#: No compression, which could unpack to anything, and no name of ours, as over a websocket.
_HEADERS = {
    "Accept": "application/nostr+json",
    "Accept-Encoding": "identity",
    "User-Agent": urllib3.util.SKIP_HEADER,
}


class Information(NamedTuple):
    """A relay's document, empty where it has none, and its clock (None if it does not tell)."""

    document: Mapping[str, Any]
    clock: datetime | None

    def limit(self, name: str) -> int | None:
        """Return the number *name* among the limitations, or None."""
        limits = self.document.get("limitation")
        value = limits.get(name) if isinstance(limits, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def information(url: str, *, timeout: float) -> Information:
    """Return what the relay at *url* (ws or wss) tells of itself. Raises: RetryLaterError."""
    address = f"http{url[2:]}"
    with requests.Session() as session:
        host = urlsplit(url).hostname or ""
        session.trust_env = not is_loopback(host) and way_to(host) is None
        session.verify = authorities()
        deadlines = Deadlines(session, way_to)
        try:
            with (
                deadlines.within(2 * timeout, url),
                session.get(
                    address,
                    headers=_HEADERS,
                    auth=lambda request: request,  # keeps ~/.netrc out
                    timeout=timeout,
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                body = answer.raw.read(_LONGEST, decode_content=False)
        except requests.Timeout:
            raise RetryLaterError(f"cannot reach '{url}': timed out") from None
        except requests.ConnectionError as error:
            raise RetryLaterError(f"cannot reach '{url}': {innermost(error)}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise RetryLaterError(f"'{url}' answers nonsense: {type(error).__name__}") from None
    return Information(_document(answer.status_code, body), _clock(answer.headers.get("Date")))


def _document(status: int, body: bytes) -> Mapping[str, Any]:
    try:
        value = decode_json(body) if status == 200 else None
    except BadRecordError:
        return {}
    return value if isinstance(value, dict) else {}


def _clock(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
