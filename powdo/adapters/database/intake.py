"""What `ingest` writes: a bundle with all it brings, or a refusal, each in one transaction with the inbox.

Rules:
- one bundle is stored once, whether it comes twice as a wrap, as a rumor, as a blob or as a capture;
- one place in a device's chain holds one root: of a second, which is refused, the link alone is kept;
- the marks for `receipt` and `kimai-sync` are set in the same transaction.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from powdo.adapters.database.buckets import BucketName, add_events
from powdo.adapters.database.deliveries import Delivery, Refusal, Stored, Told
from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.inbox import finish, storable
from powdo.adapters.database.receipts import answer_anew
from powdo.adapters.database.tables import (
    bundle,
    dirty,
    fork,
    inbox,
    rejection,
    screenshot,
    withheld,
    worker,
)
from powdo.adapters.database.workers import Author
from powdo.errors import PeerProtocolError
from powdo.worktime.link import Link

#: How many refusals of wraps whose author is not known are remembered.
ANONYMOUS = 10_000


class Intake:
    """Where checked bundles and refusals go."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def find(self, wrap: str) -> Stored | None:
        """Return the bundle that came in *wrap*."""
        with self._database.read() as connection:
            return _one(connection, _IN_WRAP, wrap=wrap)

    def known(self, worker: int, rumor: str, sha256: str) -> Stored | None:
        """Return the bundle that came as *rumor*, or whose blob has *sha256* and is that *worker*'s."""
        with self._database.read() as connection:
            return _one(connection, _KNOWN, worker_id=worker, rumor=rumor, sha256=sha256)

    def refusal(self, wrap: str) -> Refusal | None:
        """Return why *wrap* was refused, if it was."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(rejection).where(rejection.c.wrap == wrap)).one_or_none()
        if row is None:
            return None
        return Refusal(
            wrap=row.wrap,
            reason=row.reason,
            status=row.status,
            rumor=row.rumor,
            pubkey=row.pubkey,
            sha256=row.sha256,
            worker=row.worker_id,
        )

    def store(self, delivery: Delivery) -> tuple[Stored, bool]:
        """Return the stored bundle, and whether it is new; a capture that is there already is not added.

        Raises: PeerProtocolError when another bundle has its place in the device's chain.
        """
        with self._database.write() as connection:
            number = self._add_bundle(connection, delivery)
            if number is not None:
                self._add_contents(connection, number, delivery)
                finish(connection, delivery.wrap, "ingested")
                return _added(delivery), True
            stored = _in_place(connection, delivery)
            if stored is not None and stored.root == delivery.link.root:
                _repeat(connection, delivery.wrap, stored)
                return stored, False
            if stored is not None:
                row = _told(delivery.worker, delivery.link, delivery.link_event)
                connection.execute(self._database.once(_insert_fork), row | {"refused_at": int(time.time())})
        link = delivery.link
        raise PeerProtocolError(
            f"another bundle has the place {link.sequence} in the chain of device '{link.device}'"
        )

    def _add_bundle(self, connection: sa.Connection, delivery: Delivery) -> int | None:
        manifest = delivery.manifest
        values: dict[str, Any] = {name: getattr(delivery, name) for name in _SAME} | {
            "worker_id": delivery.worker.id,
            "device": manifest.device,
            "sequence": manifest.sequence,
            "begin_us": manifest.begin,
            "end_us": manifest.end,
            "timezone": manifest.timezone,
            "root": delivery.link.root,
            "previous": delivery.link.previous,
            "link": delivery.link.content,
            "manifest": delivery.manifest_text,
            "screenshots": len(manifest.screenshots),
            "bucket_events": manifest.bucket_events,
            "ingested_at": int(time.time()),
            "receipt_due": True,
        }
        number: int | None = connection.execute(self._database.once(_insert_bundle), values).scalar()
        return number

    def _add_contents(self, connection: sa.Connection, number: int, delivery: Delivery) -> None:
        manifest = delivery.manifest
        buckets = [
            (
                BucketName(item.device_id or manifest.device, item.id, item.type, item.client, item.hostname),
                delivery.bucket_events.get(item.file, ()),
            )
            for item in manifest.buckets
        ]
        add_events(connection, self._database, delivery.worker.id, buckets)
        pictures = [
            {
                "bundle_id": number,
                "worker_id": delivery.worker.id,
                "file": item.file,
                "time_us": item.time,
                "monitor": item.monitor,
                "width": item.width,
                "height": item.height,
                "sha256": item.sha256,
                "size": item.size,
            }
            for item in manifest.screenshots
        ]
        if pictures:
            connection.execute(_ADD_SCREENSHOT, pictures)
        period = {"worker_id": delivery.worker.id, "begin_us": manifest.begin, "end_us": manifest.end}
        connection.execute(_ADD_DIRTY, period)
        if delivery.withheld:
            rows = [_withheld(delivery.worker, told) for told in delivery.withheld]
            connection.execute(self._database.once(_insert_withheld), rows)

    def duplicate(self, wrap: str, stored: Stored) -> None:
        """Take *wrap*, which brings what is *stored* already, out of the queue."""
        with self._database.write() as connection:
            _repeat(connection, wrap, stored)

    def refuse(self, refusal: Refusal) -> None:
        """Keep *refusal* and take its wrap out of the queue."""
        values = {
            "wrap": refusal.wrap,
            "rumor": refusal.rumor,
            "pubkey": refusal.pubkey,
            "sha256": refusal.sha256,
            "worker_id": refusal.worker,
            "reason": storable(refusal.reason),
            "status": refusal.status,
            "rejected_at": int(time.time()),
            "receipt_due": refusal.worker is not None,
        }
        with self._database.write() as connection:
            connection.execute(self._database.insert(rejection).values(values).on_conflict_do_nothing())
            finish(connection, refusal.wrap, "rejected")
            if refusal.rumor is not None:
                answer_anew(connection, refusal.rumor)
            if refusal.worker is None:
                _forget_oldest(connection)


_SAME = (
    "wrap",
    "rumor",
    "pubkey",
    "sha256",
    "ox",
    "size",
    "link_event",
    "wrap_event",
    "seal_event",
    "rumor_event",
)


def _added(delivery: Delivery) -> Stored:
    """Return *delivery* as `_one` would find it."""
    manifest, root = delivery.manifest, delivery.link.root
    assert root is not None
    return Stored(
        wrap=delivery.wrap,
        rumor=delivery.rumor,
        worker=delivery.worker.name,
        pubkey=delivery.pubkey,
        device=manifest.device,
        sequence=manifest.sequence,
        begin_us=manifest.begin,
        end_us=manifest.end,
        sha256=delivery.sha256,
        size=delivery.size,
        screenshots=len(manifest.screenshots),
        bucket_events=manifest.bucket_events,
        root=root,
    )


def _in_place(connection: sa.Connection, delivery: Delivery) -> Stored | None:
    """Return the stored bundle that has the place of *delivery* in its chain."""
    manifest = delivery.manifest
    return _one(
        connection,
        _IN_PLACE,
        worker_id=delivery.worker.id,
        device=manifest.device,
        sequence=manifest.sequence,
    )


def _repeat(connection: sa.Connection, wrap: str, stored: Stored) -> None:
    """Answer once more what was sent again under another wrap: its sender has not heard of the first."""
    finish(connection, wrap, "duplicate")
    if wrap != stored.wrap:
        answer_anew(connection, stored.rumor)
        connection.execute(bundle.update().where(bundle.c.rumor == stored.rumor).values(receipt_due=True))


_STORED = (
    sa.select(
        *(bundle.c[name] for name in Stored.__slots__ if name != "worker"), worker.c.name.label("worker")
    )
    .join_from(bundle, worker)
    .limit(1)
)


def _named(name: str) -> sa.ColumnElement[bool]:
    return bundle.c[name] == sa.bindparam(name)


_IN_WRAP = _STORED.where(_named("wrap"))
_IN_PLACE = _STORED.where(_named("worker_id"), _named("device"), _named("sequence"))
_KNOWN = _STORED.where(_named("rumor") | (_named("worker_id") & _named("sha256"))).order_by(~_named("rumor"))


def _one(connection: sa.Connection, query: sa.Select[Any], **values: object) -> Stored | None:
    row = connection.execute(query, values).one_or_none()
    return None if row is None else Stored(**row._mapping)


_ADD_SCREENSHOT, _ADD_DIRTY = screenshot.insert(), dirty.insert().inline()


def _told(author: Author, link: Link, event: str | None) -> dict[str, Any]:
    """Return what the tables of links without a bundle have in common."""
    return {
        "worker_id": author.id,
        "device": link.device,
        "sequence": link.sequence,
        "hash": link.hash,
        "link": link.content,
        "link_event": event,
    }


def _withheld(author: Author, told: Told) -> dict[str, Any]:
    period = {"begin_us": told.link.begin, "end_us": told.link.end}
    return _told(author, told.link, told.event) | period | {"ingested_at": int(time.time())}


def _insert_fork(database: Database) -> Any:
    return database.insert(fork).on_conflict_do_nothing()


def _insert_withheld(database: Database) -> Any:
    return database.insert(withheld).on_conflict_do_nothing()  # later bundles may tell it again


def _insert_bundle(database: Database) -> Any:
    return database.insert(bundle).on_conflict_do_nothing().returning(bundle.c.id)


def _forget_oldest(connection: sa.Connection) -> None:
    anonymous = rejection.c.worker_id.is_(None)
    count = (
        connection.execute(sa.select(sa.func.count()).select_from(rejection).where(anonymous)).scalar() or 0
    )
    if count > ANONYMOUS:
        oldest = sa.select(rejection.c.wrap).where(anonymous).order_by(rejection.c.rejected_at)
        rows = connection.execute(oldest.limit(ANONYMOUS // 10)).scalars().all()
        connection.execute(rejection.delete().where(rejection.c.wrap.in_(rows)))
        connection.execute(inbox.delete().where(inbox.c.wrap.in_(rows)))
