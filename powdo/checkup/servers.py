"""What relays and Blossom servers let this side do, tried with a probe that leaves nothing behind."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from powdo.checkup.findings import Finding, doubtful, failed, good, skipped
from powdo.errors import PeerProtocolError, PowdoError, RetryLaterError
from powdo.run import Run

if TYPE_CHECKING:
    from powdo.nips.curve import SecretKey
    from powdo.nips.event import Event

#: A large wrap, and how far back wraps are dated (NIP-59).
_LARGE_WRAP = 65_536
_BACK_DATED = 2 * 86400
#: A gift wrap that no relay stores.
_EPHEMERAL_WRAP = 21059
#: Seconds that a clock may be off unnoticed, and those from which our relay refuses an AUTH (NIP-42).
_TOLERATED, _REFUSED = 30, 600
_ALLOW = "ask its operator to put this key on the list: powdo keys show {}"
_AWAY = "see whether it runs, and its address"


class Relays:
    """The relays of one side, asked with the key of *user*; *clocks* holds the time each of them told."""

    def __init__(self, run: Run, user: str, timeout: float) -> None:
        self._run = run
        self._user = user
        self._timeout = timeout
        self._key: SecretKey | None = None
        self.clocks: dict[str, datetime] = {}

    def findings(self, urls: tuple[str, ...]) -> Iterator[Finding]:
        """Yield what is found of each relay: what it tells of itself, and that we may read and write."""
        for url in urls:
            try:
                yield from self._told(url)
                yield self._read(url)
                yield self._written(url)
            except PowdoError as error:
                fix = _ALLOW.format(self._user) if error.status in (69, 77) else None
                yield failed("relay", error, fix or error.hint or _AWAY)

    def _told(self, url: str) -> Iterator[Finding]:
        from powdo.adapters.relay.information import information

        found = information(url, timeout=self._timeout)
        if found.clock is not None:
            self.clocks[url] = found.clock
        if not found.document:
            yield doubtful("relay", f"'{url}' tells nothing of itself (NIP-11)", "its limits are not known")
            return
        longest, oldest = found.limit("max_message_length"), found.limit("created_at_lower_limit")
        if longest is not None and longest < _LARGE_WRAP:
            yield doubtful(
                "relay", f"'{url}' takes messages of {longest} bytes only", "have max_message raised to 64KiB"
            )
        if oldest is not None and 0 < oldest < _BACK_DATED:
            yield failed(
                "relay",
                PeerProtocolError(
                    f"'{url}' refuses events older than {oldest} s; wraps are dated 2 days back"
                ),
                "have its created_at_lower_limit raised to 172800",
            )
        bits = found.limit("min_pow_difficulty")
        if bits:
            yield doubtful("relay", f"'{url}' asks strangers for {bits} bits of work", "be on its allowlist")

    def _read(self, url: str) -> Finding:
        from powdo.adapters.relay.reading import try_reading
        from powdo.nips.filters import Filter

        mine = Filter(kinds=(1059,), tags={"p": (self._unlocked().pubkey,)}, since=int(time.time()))
        if try_reading(url, mine, timeout=self._timeout, sign_auth=self._sign_auth):
            return good("relay", f"'{url}' shows {self._user} their gift wraps, after AUTH")
        return doubtful(
            "relay", f"'{url}' shows gift wraps to whoever asks", "use a relay that asks for AUTH (NIP-42)"
        )

    def _written(self, url: str) -> Finding:
        """Return whether the relay takes a gift wrap from us, one that it does not store."""
        from powdo.adapters.relay.publisher import RelayClient
        from powdo.nips.curve import SecretKey
        from powdo.nips.event import Unsigned, sign

        once = SecretKey(secrets.token_bytes(32))
        draft = Unsigned(
            once.pubkey, int(time.time()), _EPHEMERAL_WRAP, (("p", self._unlocked().pubkey),), ""
        )
        with RelayClient(url, timeout=self._timeout, sign_auth=self._sign_auth) as client:
            client.publish(sign(draft, once, secrets.token_bytes(32)))
        return good("relay", f"'{url}' takes gift wraps from {self._user}")

    def _unlocked(self) -> SecretKey:
        if self._key is None:
            self._key = self._run.key(self._user)
        return self._key

    def _sign_auth(self, challenge: str, url: str) -> Event:
        from powdo.nips.nip42 import auth_event

        return auth_event(challenge, url, self._unlocked(), int(time.time()), secrets.token_bytes(32))


def clock(measured: dict[str, datetime]) -> Iterator[Finding]:
    """Yield how far this machine's clock is from those that servers told, by the server's address."""
    for url, theirs in measured.items():
        off = time.time() - theirs.timestamp()
        detail = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} '{url}'"
        if abs(off) <= _TOLERATED:
            yield good("clock", f"in step with '{url}'")
        elif abs(off) <= _REFUSED:
            yield doubtful("clock", detail, "set the clock by NTP")
        else:
            yield failed("clock", RetryLaterError(detail), "set the clock by NTP; relays refuse such a one")


def blossom(run: Run, timeout: float) -> Iterator[Finding]:
    """Yield whether each Blossom server takes a small blob from the access key, gives it back, deletes it."""
    user = run.settings.identity.access_user
    if not run.settings.worker.blossom or user is None:
        yield skipped("blossom", "no server, or no access key", "run powdo init worker")
        return
    for url in run.settings.worker.blossom:
        try:
            _probe(url, run.key(user), timeout)
        except PowdoError as error:
            fix = _ALLOW.format(user) if error.status == 77 else None
            yield failed("blossom", error, fix or error.hint or _AWAY)
        else:
            yield good("blossom", f"'{url}' takes blobs of {user}, and deletes them")


def _probe(url: str, key: Any, timeout: float) -> None:
    """Upload a blob of random bytes to *url*, look for it, and delete it. Raises: PowdoError."""
    import hashlib
    import tempfile
    from contextlib import closing
    from pathlib import Path

    from powdo.adapters.blossom import BlossomClient

    data = secrets.token_bytes(64)
    name = hashlib.sha256(data).hexdigest()
    with (
        tempfile.TemporaryDirectory(prefix="powdo-doctor-") as folder,
        closing(BlossomClient(url, key, timeout=timeout)) as client,
    ):
        path = Path(folder) / "probe"
        path.write_bytes(data)
        client.upload(path, sha256=name, size=len(data))
        there = client.has(name, len(data))
        client.delete(name)
        if not there:
            raise PeerProtocolError(f"'{url}' says that it took a blob and has it not")
