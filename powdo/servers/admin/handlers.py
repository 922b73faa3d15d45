"""What may be done to the allowlist, one change after the other, whoever asks for it.

Keys come as hex or npub. They are checked, and the disk waited for, off the loop's thread; a change is
durable when its answer is given, and one that fails has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from powdo.errors import BadRecordError, BusyError, CannotCreateError, ConfigurationError, OutputError
from powdo.nips.bech32 import encode_npub, parse_pubkey
from powdo.servers.admin.wire import Refusal
from powdo.servers.allowlist import Allowlist, Replaced

_T = TypeVar("_T")
Say = Callable[[str], None]


class Handlers:
    """*tell* is told of each change, *warn* of each that failed on our side."""

    def __init__(self, allowlist: Allowlist, *, tell: Say, warn: Say) -> None:
        self._allowlist = allowlist
        self._tell = tell
        self._warn = warn
        self._turn = asyncio.Lock()

    async def add(self, text: object) -> tuple[str, bool]:
        """Return the pubkey in *text*, now let in, and whether it is new. Raises: Refusal."""

        def work() -> tuple[str, bool]:
            pubkey = _pubkey(text)
            return pubkey, self._allowlist.add(pubkey)

        pubkey, new = await self._in_turn(work)
        if new:
            self._tell(f"let in {encode_npub(pubkey)}")
        return pubkey, new

    async def remove(self, text: object) -> tuple[str, bool]:
        """Return the pubkey in *text*, now shut out, and whether it was let in.

        Raises: Refusal, 409 for one that the settings let in.
        """

        def work() -> tuple[str, bool]:
            pubkey = _pubkey(text)
            if pubkey in self._allowlist.always:
                raise Refusal(409, "the server's own settings let this key in; take it out of them")
            return pubkey, self._allowlist.remove(pubkey)

        pubkey, was_in = await self._in_turn(work)
        if was_in:
            self._tell(f"shut out {encode_npub(pubkey)}")
        return pubkey, was_in

    async def pubkeys(self) -> list[str]:
        """Return all that are let in, sorted."""
        return await self._in_turn(lambda: sorted(self._allowlist.pubkeys()))

    async def sync(self, texts: object) -> Replaced:
        """Let in those in *texts* and nobody else but whom the settings let in. Raises: Refusal."""
        if not isinstance(texts, list):
            raise Refusal(400, "'pubkeys' is not a list")

        def work() -> Replaced:
            known = self._allowlist.pubkeys()  # most of them are: a point is not looked for again
            return self._allowlist.replace(_pubkeys(texts, known))

        done = await self._in_turn(work)
        if done.added or done.removed:
            self._tell(f"let in {done.added}, shut out {done.removed}, now {done.total}")
        return done

    async def _in_turn(self, work: Callable[[], _T]) -> _T:
        """Return what *work* does when those before it are done. Raises: Refusal."""
        async with self._turn:
            try:
                return await asyncio.to_thread(work)
            except BusyError as error:
                self._warn(error.message)
                raise Refusal(503, "the allowlist is being changed elsewhere", {"Retry-After": "5"}) from None
            except (CannotCreateError, OutputError) as error:
                self._warn(error.message)
                raise Refusal(507, "the allowlist cannot be written") from None
            except ConfigurationError as error:
                self._warn(error.message)
                raise Refusal(500, "the file of the allowlist cannot be read") from None


def _pubkey(text: object) -> str:
    if not isinstance(text, str):
        raise Refusal(400, "a pubkey is hex or npub in a string")
    try:
        return parse_pubkey(text)
    except BadRecordError as error:
        raise Refusal(400, f"{error.message}; {error.hint}" if error.hint else error.message) from None


def _pubkeys(texts: list[object], known: frozenset[str]) -> list[str]:
    found = []
    for number, text in enumerate(texts):
        try:
            found.append(text if isinstance(text, str) and text in known else _pubkey(text))
        except Refusal as refusal:
            raise Refusal(refusal.status, f"'pubkeys' at {number}: {refusal.reason}") from None
    return found
