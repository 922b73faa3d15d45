"""`powdo listen`: the gift wraps addressed to me, from all my relays, each once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from powdo.errors import PowdoError, RetryLaterError
from powdo.options import Run, command, network_options, relay_urls

if TYPE_CHECKING:
    import asyncio

    from powdo.adapters.database.inbox import Inbox
    from powdo.nips.event import Event

#: How far apart clocks may be, in seconds.
_SKEW = 900


@command("listen", epilog="powdo listen | powdo ingest --pending\npowdo listen --until-eose | powdo ingest")
@network_options
@click.option("--until-eose", is_flag=True, help="End when each relay has sent what it had.")
@click.option("--user", metavar="NAME", help="Listen for NAME instead of [identity].")
@click.option(
    "--relay", "relays", metavar="URL", multiple=True, help="Listen at URL instead of the settings'."
)
def listen(run: Run, timeout: float, until_eose: bool, user: str | None, relays: tuple[str, ...]) -> None:
    """Write the gift wraps addressed to me, each once.

    Asks each relay for everything since its last complete sync, less what back-dating, spooling and
    clocks may hide, then stays for what comes. A wrap is in the inbox before it is written.
    """
    from powdo import loops
    from powdo.adapters.database.inbox import Inbox
    from powdo.adapters.relay import listener
    from powdo.nips.filters import Filter
    from powdo.nips.kinds import WRAP_KINDS

    name = user or run.settings.listener()
    with run.key(name) as key:
        recipient = key.pubkey
    plan = listener.Plan(
        relays=tuple(dict.fromkeys(relay_urls(relays) or run.settings.relays())),
        filter=Filter(kinds=WRAP_KINDS, tags={"p": (recipient,)}),
        sign_auth=lambda challenge, url: _sign_auth(run, name, challenge, url),
        timeout=timeout,
        until_eose=until_eose,
    )
    inbox = Inbox(run.settings.database_url)
    sink = _Sink(run, inbox, recipient, final=until_eose)

    async def main(stop: asyncio.Event) -> None:
        await listener.listen(plan, sink, stop)

    try:
        loops.run(main)
    finally:
        inbox.close()


def _sign_auth(run: Run, name: str, challenge: str, url: str) -> Event:
    """Return the answer to a challenge; the key is unlocked for this moment only."""
    import secrets

    from powdo.nips.nip42 import auth_event

    with run.key(name) as key:
        return auth_event(challenge, url, key, int(time.time()), secrets.token_bytes(32))


class _Sink:
    """Stores each wrap in the inbox, then writes it; what was there before is not written again."""

    def __init__(self, run: Run, inbox: Inbox, recipient: str, *, final: bool) -> None:
        self._run = run
        self._inbox = inbox
        self._recipient = recipient
        self._final = final

    def _name(self, relay: str) -> str:
        """Return under what a sync is noted: what one recipient has read, another has not."""
        return f"{relay} {self._recipient}"

    def last_sync(self, relay: str) -> int | None:
        at = self._inbox.synced(self._name(relay))
        # A date ahead was noted by a wrong clock: when that was is not known, so all is asked for.
        return None if at is None or at > time.time() + _SKEW else at

    def synced(self, relay: str, at: int) -> None:
        self._inbox.set_synced(self._name(relay), at)
        self._run.console.debug(f"'{relay}' has sent all it had")

    def store(self, relay: str, event: Event) -> None:
        from powdo.errors import BadRecordError
        from powdo.lines import encode_line
        from powdo.nips.event import is_expired

        now = int(time.time())
        if is_expired(event, now):
            self._run.console.info(f"gift wrap '{event.id}' from '{relay}' has expired")
            return
        value = event.to_json()
        try:
            encode_line(value)
        except BadRecordError as error:  # nobody could read it: a stranger's wrap must not end the listening
            self._run.console.warning(f"gift wrap '{event.id}' from '{relay}' is left out: {error.message}")
            return
        if self._inbox.add(value, relay, now):
            self._run.emit(value)

    def trouble(self, relay: str, error: PowdoError) -> None:
        # What a later try mends is no more than a warning to who listens on; a refusal needs a person.
        if self._final or not isinstance(error, RetryLaterError):
            self._run.fail(error)
        else:
            self._run.console.warning(error.message, hint=error.hint)

    def said(self, relay: str, message: str) -> None:
        self._run.console.info(f"'{relay}' says: {message}")
