"""What speaks to Kimai for a run, one syncer for each token: shared by `kimai-sync` and `checkup`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence

from powdo.adapters.database import Store, Worker
from powdo.adapters.kimai.catalogue import NewCustomers
from powdo.adapters.kimai.check import Finding, findings
from powdo.adapters.kimai.client import Client
from powdo.adapters.kimai.sync import Syncer, Wishes
from powdo.adapters.kimai.telling import Person
from powdo.errors import RefusedError
from powdo.settings import Settings


class Syncers:
    """The syncers of one Kimai; *warn* is given what a person should know, and a hint.

    A token is asked for, and Kimai spoken to, once there is something to do.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        timeout: float,
        *,
        create: bool,
        dry: bool,
        warn: Callable[[str, str | None], None],
        fail: Callable[[RefusedError], None],
    ) -> None:
        self.store = store
        self.create = create
        self.dry = dry
        self._settings = settings
        self._timeout = timeout
        self._warn = warn
        self._fail = fail
        self._syncers: dict[str, Syncer] = {}
        self._warned: set[int] = set()

    def close(self) -> None:
        """Close the connections."""
        for syncer in self._syncers.values():
            syncer.client.close()

    def syncer(self, worker: str | None) -> Syncer:
        """Return what syncs the timesheets of *worker*, one for each token."""
        token = self._settings.kimai_token(worker)
        if token not in self._syncers:
            self._syncers[token] = self._connect(token)
        return self._syncers[token]

    def _connect(self, token: str) -> Syncer:
        kimai = self._settings.kimai
        assert kimai.url is not None
        customers = None
        if kimai.country and kimai.currency:
            zone = self._settings.dvm.timezone
            customers = NewCustomers(country=kimai.country, currency=kimai.currency, timezone=zone)
        return Syncer(
            Client(kimai.url, token, timeout=self._timeout, warn=self._warn),
            self.store,
            Wishes(tag=kimai.tag, create=self.create, dry=self.dry, customers=customers),
            fresh=lambda: uuid.uuid4().hex,
            now=time.time,
            fail=self._fail,
        )

    def person(self, worker: Worker) -> Person:
        """Return *worker* as the syncer knows them."""
        shared = all(one.name != worker.name for one in self._settings.kimai.worker)
        several = len(self.store.workers(disabled=False)) > 1
        if worker.kimai_user is None and shared and several and worker.id not in self._warned:
            self._warned.add(worker.id)
            self._warn(
                f"'{worker.name}' has no Kimai user, so their time is booked for the token's owner",
                f"`powdo users add --name {worker.name} --kimai-user ID` names one",
            )
        zones = (worker.timezone, *self.store.zones(worker.id))
        book = self._settings.book(zones, worker.day_start)
        return Person(id=worker.id, name=worker.name, kimai_user=worker.kimai_user, book=book)

    def check(self, workers: Sequence[Worker]) -> Iterator[Finding]:
        """Yield how Kimai is set up as each token of *workers* sees it; the shared one if there are none."""
        names: list[str | None] = [worker.name for worker in workers]
        seen: set[int] = set()
        for name in names or [None]:
            syncer = self.syncer(name)
            if id(syncer) in seen:
                continue
            seen.add(id(syncer))
            people = [self.person(one) for one in workers if self.syncer(one.name) is syncer]
            yield from findings(syncer, people, self._settings.rules, create=self.create)
