"""The client's side of a service that mines for others, as a state machine without I/O.

`receive` takes what the service sent and returns what happened; `outgoing` gives what to send now. Rules:
- one event at a time: the draft has no request id;
- a challenge is answered before anything is asked, and asking is repeated once after `auth-required`;
- what comes back is believed only if it is the event that was asked for, with the bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event, Unsigned
from powdo.nips.pow_messages import Funds, parse_funds, problem_with
from powdo.nips.relay_messages import array, encode


@dataclass(frozen=True, slots=True)
class Challenged:
    """The service wants to know who asks; answer with `authenticate`."""

    challenge: str


@dataclass(frozen=True, slots=True)
class Mined:
    """What was asked for, checked."""

    event: Unsigned


@dataclass(frozen=True, slots=True)
class Refused:
    """The service will not; *funds* where an account does not cover the fee."""

    message: str
    funds: Funds | None = None


class CheatError(PeerProtocolError):
    """What came back is not what was asked for."""


Happening = Challenged | Mined | Refused


class PowClientSession:
    """One connection; *request* asks for one event after the other."""

    def __init__(self) -> None:
        self._outgoing: list[str] = []
        self._wanted: tuple[Unsigned, int] | None = None
        self._auth_id: str | None = None
        self._challenge: str | None = None
        self._authenticated = False
        self._repeated = False

    @property
    def has_asked(self) -> bool:
        """Whether the service has let us in and been asked, so that it is its turn."""
        return self._authenticated

    def outgoing(self) -> list[str]:
        """Return the messages to send now, each once."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def request(self, event: Unsigned, target: int) -> None:
        """Ask for *target* bits on *event*, once we are authenticated; Mined or Refused will follow."""
        self._wanted, self._repeated = (event, target), False
        if self._authenticated:
            self._ask()

    def authenticate(self, event: Event) -> None:
        """Answer the last challenge with a signed kind 22242 event."""
        self._auth_id = event.id
        self._send("AUTH", event.to_json())

    def _ask(self) -> None:
        if self._wanted is not None:
            event, target = self._wanted
            self._send("POW", event.to_json(), target)

    def receive(self, data: str | bytes, now: int) -> list[Happening]:
        """Return what one message means. Raises: CheatError, PeerProtocolError for nonsense."""
        value = array(data)
        match value:
            case ["AUTH", str(challenge), *_]:
                self._challenge = challenge
                return [Challenged(challenge)] if not self._authenticated else []
            case ["OK", str(event_id), bool(accepted), *rest] if event_id == self._auth_id:
                return self._on_auth(accepted, str(rest[0]) if rest else "")
            case ["POW", event, *_] if self._wanted is not None and isinstance(event, Mapping):
                return self._on_mined(event, now)
            case ["NOTICE", str(message), *_]:
                return self._on_notice(message)
        return []

    def _on_auth(self, accepted: bool, message: str) -> list[Happening]:
        if not accepted:
            return [Refused(f"auth-required: {message}")]
        self._authenticated = True
        self._ask()
        return []

    def _on_mined(self, fields: Mapping[str, object], now: int) -> list[Happening]:
        assert self._wanted is not None
        event, target = self._wanted
        problem = problem_with(fields, event, target, now)
        if problem is not None:
            raise CheatError(f"what came back is not what was asked for: {problem}")
        self._wanted = None
        return [Mined(Unsigned.from_fields(fields))]

    def _on_notice(self, message: str) -> list[Happening]:
        """Take a NOTICE as the answer to what was asked; before that it may be about AUTH, in old words."""
        if self._wanted is None:
            return []
        if message.startswith("auth-required") and not self._repeated:
            self._repeated, self._authenticated = True, False
            return [] if self._challenge is None else [Challenged(self._challenge)]
        if not self._authenticated and message.lower().startswith("authorised: "):
            return self._on_auth(True, "")
        self._wanted = None
        return [Refused(message, parse_funds(message))]

    def _send(self, *parts: object) -> None:
        self._outgoing.append(encode(*parts).decode())
