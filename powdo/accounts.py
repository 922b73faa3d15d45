"""Users of a community whose keys are in custody: what `powdo users` ties together.

| a user is | what happens, each step kept before the next |
|---|---|
| created | key made, access key enrolled, relay told to let it in, profile (kind 0) signed and sent |
| deactivated | relay told to let it in no longer |
| deleted | key zeroed; the npub is an orphan |

Each step finds what is done already and leaves it; what a relay could not take waits in a queue: for
`powdo allow flush`, and for `powdo publish --pending`. So the same command, run again, completes what was
cut off.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import closing
from typing import TYPE_CHECKING

from powdo.errors import KeyRejectedError, PowdoError, RetryLaterError, UsageError

if TYPE_CHECKING:
    from powdo.adapters.database import Worker
    from powdo.adapters.outbox import Outbox
    from powdo.custody import UserRecord
    from powdo.nips.event import Event
    from powdo.run import Run


def expect_no_other_key(run: Run, worker: Worker) -> None:
    """Return if the key of *worker* in custody is, or can become, their one access key.

    Raises: UsageError where they have another: relays would let one person in by two pseudonyms.
    """
    from powdo.nips.bech32 import decode_npub, encode_npub

    if not worker.access_pubkeys:
        return
    record = run.keystore.find(worker.name)
    if record is not None and decode_npub(record["nostr"]["npub"]) in worker.access_pubkeys:
        return
    npubs = ", ".join(f"'{encode_npub(pubkey)}'" for pubkey in worker.access_pubkeys)
    raise UsageError(
        f"'{worker.name}' has an access key of their own: {npubs}",
        hint="leave out --create-key, or enroll a user in custody under another --name",
    )


def ensure_key(run: Run, name: str) -> str:
    """Return the pubkey of *name* in custody, made now if there is none. Raises: KeyRejectedError."""
    from powdo.custody import is_deleted
    from powdo.nips.bech32 import decode_npub

    master = run.settings.master_key()
    record = run.keystore.find(name) or _created(run, name, master)
    if is_deleted(record):
        raise KeyRejectedError(
            f"the key of '{name}' was deleted, and its name is not given again",
            hint="give the user another name, or the npub of a key of their own",
        )
    run.keystore.unlock(name, master).wipe()  # who could not sign is told before anything else is done
    return decode_npub(record["nostr"]["npub"])


def _created(run: Run, name: str, master: bytes) -> UserRecord:
    try:
        return run.keystore.create(name, master)
    except KeyRejectedError:
        record = run.keystore.find(name)  # another run may have been first
        if record is None:
            raise
        return record


def publish_profile(run: Run, name: str, fields: dict[str, str | None], timeout: float) -> None:
    """Sign the profile of *name* if it says anything new, and send it; what waits stays in the queue.

    What *fields* leave out is as in the profile before. What goes wrong on the way is reported, never raised.
    """
    if not run.settings.publishes:
        run.console.note("NOSTR_ENABLED is off: no profile is published")
        return
    from powdo.adapters.outbox import Outbox

    with closing(Outbox(run.settings.state_dir)) as outbox:
        event = _profile(run, outbox, name, fields)
        waits = outbox.waiting_event(event.id) is not None
    if waits:
        _send(run, event, timeout)


def _profile(run: Run, outbox: Outbox, name: str, fields: dict[str, str | None]) -> Event:
    """Return the latest profile of *name*: the one before if nothing is new, else one kept to be sent."""
    from powdo.nips import actions
    from powdo.nips.bech32 import decode_npub
    from powdo.nips.event import Event, sign

    pubkey, now = decode_npub(run.keystore.get(name)["nostr"]["npub"]), int(time.time())
    address = f"{actions.PROFILE}:{pubkey}:"
    kept = outbox.signed(address)
    before = None if kept is None else Event.from_json(kept)
    said = {"name": name} if before is None else json.loads(before.content)
    draft = actions.profile(**(said | {key: value for key, value in fields.items() if value is not None}))
    if before is not None and before.content == draft.content:
        return before
    moment = now if before is None else max(now, before.created_at + 1)
    with run.key(name) as key:
        event = sign(draft.by(pubkey, moment), key, secrets.token_bytes(32))
    outbox.keep_to_send(address, event, now=now)
    return event


def _send(run: Run, event: Event, timeout: float) -> None:
    from powdo.publishing import Publisher

    try:
        with closing(Publisher(run, timeout=timeout)) as publisher:
            for _ in publisher.handle(event.to_json()):
                pass
    except RetryLaterError as error:
        hint = "nothing is lost; `powdo publish --pending` sends it later"
        run.fail(RetryLaterError(f"the profile is not published yet: {error.message}", hint=hint))
    except PowdoError as error:
        run.fail(error)


def delete_key(run: Run, name: str) -> None:
    """Zero the key of *name* in custody, if there is one."""
    if run.keystore.find(name) is not None:
        run.keystore.delete(name)
