"""Whom the relay shall let in, and how it is told: what `powdo allow` and `powdo users` share.

Rules:
- wanted is the union of the enrolled workers' access keys, the DVM's own keys, the keys in custody, and
  what was pinned here;
- a worker's identity gets there by being pinned only: the public side must not learn of it;
- a key in custody that is the access key of a worker who was removed is not wanted;
- a source that cannot be read ends the run, since a part of the union would shut people out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from powdo.errors import BadRecordError, ConfigurationError, KeyRejectedError, PowdoError, RetryLaterError

if TYPE_CHECKING:
    from powdo.adapters.allow import Client, State
    from powdo.adapters.database import Worker
    from powdo.custody import UserRecord
    from powdo.run import Run
    from powdo.settings import Settings

_LATER = "nothing is lost; `powdo allow flush` or `powdo allow sync` tells it later"


@dataclass(frozen=True, slots=True)
class Union:
    """Who is wanted, each hex pubkey with the reasons, and which keys are identities of workers."""

    reasons: dict[str, list[str]]
    identities: frozenset[str]


def union(settings: Settings, pins: Iterable[str]) -> Union:
    """Return whom the relay shall let in. Raises: ConfigurationError, and what databases raise."""
    from powdo.adapters.database import enrolled

    workers = enrolled(settings.database_url)
    identities = {pubkey for worker in workers for pubkey in worker.pubkeys}
    removed = {pubkey for worker in workers if worker.disabled for pubkey in worker.access_pubkeys}
    reasons: dict[str, list[str]] = {}
    for worker in workers:
        for pubkey in () if worker.disabled else worker.access_pubkeys:
            reasons.setdefault(pubkey, []).append(f"worker {worker.name}")
    user, access_user = settings.identity.user, settings.identity.access_user
    workers_side = access_user is not None or "worker" in settings.sections
    for name, pubkey, lives in _custody(settings):
        if settings.is_operator and name in (user, access_user) and lives:
            reasons.setdefault(pubkey, []).append("dvm")
        elif workers_side and name == user != access_user:
            identities.add(pubkey)
        elif pubkey not in identities | removed and lives:
            reasons.setdefault(pubkey, []).append(f"custody {name}")
    for pubkey in pins:
        reasons.setdefault(pubkey, []).append("pinned")
    return Union(reasons, frozenset(identities))


def _custody(settings: Settings) -> list[tuple[str, str, bool]]:
    """Return name and pubkey of each key in custody, and whether it was not deleted."""
    from powdo.custody import is_deleted
    from powdo.keyring import keystore, keystore_name
    from powdo.nips.bech32 import decode_npub

    found = []
    for record in keystore(settings).records():
        try:
            pubkey = decode_npub(record["nostr"]["npub"])
        except BadRecordError:
            raise ConfigurationError(
                f"the record of '{record['username']}' in {keystore_name(settings)} is damaged"
            ) from None
        found.append((record["username"], pubkey, not is_deleted(record)))
    return found


# --- the relay ---


def is_told(settings: Settings) -> bool:
    """Return whether there is a relay to be told anything."""
    return settings.allow.enabled and settings.allow.url is not None


def required_url(settings: Settings) -> str:
    """Return where the admin API of the relay is that shall be told. Raises: ConfigurationError."""
    if not settings.allow.enabled:
        raise ConfigurationError(
            "telling the relay is switched off", hint="see NOSTR_ENABLED, and enabled in [allow]"
        )
    if settings.allow.url is None:
        raise ConfigurationError(
            "no relay to tell whom to let in",
            hint="set NOSTR_RELAY_ADMIN_URL, or url in [allow], to where its admin API is",
        )
    return settings.allow.url


def state(run: Run) -> State:
    """Return what is kept of the relay's list on this side."""
    from powdo.adapters.allow import State

    return State(run.settings.state_dir, run.console.warning)


def connect(settings: Settings, timeout: float) -> Client:
    """Return a session with the relay's admin API. Raises: ConfigurationError, KeyRejectedError."""
    from powdo.adapters.allow import Client

    return Client(required_url(settings), settings.relay_admin_secret(), timeout=timeout)


def tell(run: Run, timeout: float, *, everything: bool = False) -> None:
    """Tell the relay what is due, or *everything* that waits; what goes wrong is reported, never raised."""
    from powdo.adapters.allow import flush

    try:
        errors = flush(state(run), partial(connect, run.settings, timeout), everything=everything)
    except (RetryLaterError, KeyRejectedError) as error:
        errors = [error]
    for failure in errors:
        run.fail(_explained(failure))


def _explained(error: PowdoError) -> PowdoError:
    if not isinstance(error, RetryLaterError):
        return error
    return RetryLaterError(f"the relay does not know yet: {error.message}", hint=error.hint or _LATER)


def _untold(worker: Worker) -> str:
    """Return what a person does who keeps the relay's list themselves, in one line."""
    end, by_hand = ("in no longer", "take it off") if worker.disabled else ("in", "put their access key on")
    return (
        f"no relay was told to let '{worker.name}' {end}: set url in [allow] and run `powdo allow sync`, "
        f"or {by_hand} its list by hand"
    )


def tell_of_keys(run: Run, records: Iterable[UserRecord], timeout: float) -> None:
    """Tell the relay of keys that have just come into custody, or were deleted there."""
    if not is_told(run.settings):
        return
    from powdo.custody import is_deleted
    from powdo.nips.bech32 import decode_npub

    here = state(run)
    found = union(run.settings, here.pins())
    for record in records:
        pubkey = decode_npub(record["nostr"]["npub"])
        if pubkey in found.reasons:
            here.ask("add", [pubkey])
        elif is_deleted(record) and pubkey not in found.identities:  # the relay must not learn of those
            here.ask("remove", [pubkey])
    tell(run, timeout)


def tell_of(run: Run, worker: Worker, timeout: float, *, news: bool = True) -> None:
    """Tell the relay of the access keys of *worker*, who has just been enrolled, changed or removed.

    Where none is named a person is told, if there are *news* for it.
    """
    if not is_told(run.settings):
        if news and worker.access_pubkeys and run.settings.allow.enabled:
            run.console.note(_untold(worker))
        return
    from powdo.nips.bech32 import encode_npub

    here = state(run)
    wanted = union(run.settings, here.pins()).reasons
    here.ask("add", (pubkey for pubkey in worker.access_pubkeys if pubkey in wanted))
    here.ask("remove", (pubkey for pubkey in worker.access_pubkeys if pubkey not in wanted))
    for pubkey in worker.access_pubkeys if worker.disabled else ():
        if pubkey in wanted:
            run.console.warning(
                f"'{encode_npub(pubkey)}' stays on the relay's list: {', '.join(wanted[pubkey])}"
            )
    tell(run, timeout)
