"""The service that mines for others, put together from [pow]: for `pow serve`, `relay serve`, the accounts.

Its folder holds the allowlist, the accounts (unless they are in a database), and the name by which a service
finds the jobs that a crash has left open.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Container
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from powdo.errors import BusyError, CannotCreateError, UsageError
from powdo.settings.paths import write_private

if TYPE_CHECKING:
    from powdo.adapters.database.pow_books import Books
    from powdo.nips.pow_terms import Terms
    from powdo.run import Run
    from powdo.servers.pow.service import Service
    from powdo.settings.schema import Pow


class Setup:
    """All that a service is made of; use it as a context. *members* are a relay's, instead of an allowlist.

    Raises: PowdoError.
    """

    def __init__(
        self,
        run: Run,
        section: Pow,
        *,
        allowed: tuple[str, ...] = (),
        members: Container[str] | None = None,
        kernel: str | None = None,
    ) -> None:
        from powdo.adapters.miner import make_miner
        from powdo.servers.allowlist import Allowlist
        from powdo.servers.pow.rules import Rules, calibrated

        self._warn = run.console.warning
        folder = folder_of(section, create=True)
        with ExitStack() as resources:
            resources.callback(os.close, hold(folder))
            self._name = service_name(folder)
            self._books = resources.enter_context(closing(open_books(section, create=True)))
            self._miner = resources.enter_context(closing(make_miner(kernel, section.threads)))
            self._rules = Rules(
                terms=calibrated(terms_of(section), self._miner),
                members=members
                if members is not None
                else Allowlist(
                    section.allowlist or folder / "allowlist.json", section.allow + allowed, warn=self._warn
                ),
                members_only=section.members_only,
                members_pay=section.members_pay,
                jobs_per_pubkey=section.jobs_per_pubkey,
                backlog=section.backlog,
            )
            self._resources = resources.pop_all()
        run.console.info(
            f"mining with {self._miner.name} on {self._miner.workers} cores: "
            f"{self._rules.terms.speed / 1e6:.0f} million blocks a second"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._resources.close()

    def service(self) -> Service:
        """Return the service; it belongs to the loop that runs now."""
        from powdo.servers.pow.service import Service

        return Service(self._miner, self._books, self._rules, name=self._name, warn=self._warn)


def folder_of(section: Pow, *, create: bool) -> Path:
    """Return the service's folder, made if need be. Raises: UsageError, CannotCreateError."""
    if section.data is None:
        raise UsageError("no folder for the accounts", hint="give --data DIR, or data in [pow]")
    if create:
        try:
            section.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{section.data}': {error.strerror}") from None
    return section.data


def open_books(section: Pow, *, create: bool = False) -> Books:
    """Return the books in [pow] database, by default a file in the folder. Raises: PowdoError."""
    from powdo.adapters.database.pow_books import Books

    folder = folder_of(section, create=create) if section.database is None else None
    return Books(section.database or f"sqlite:///{folder}/pow.sqlite", create=create)


def section_of(run: Run, data: Path | None) -> Pow:
    """Return [pow] with --data, if it was given, in place of the folder."""
    section = run.settings.pow
    return section if data is None else section._replace(data=data)


def terms_of(section: Pow) -> Terms:
    """Return the terms in [pow]. Raises: UsageError."""
    from powdo.nips.pow_terms import Terms

    if section.min_target > section.max_target:
        raise UsageError(
            f"the lowest target, {section.min_target}, is above the highest, {section.max_target}"
        )
    return Terms(
        min_target=section.min_target,
        max_target=section.max_target,
        base=section.base,
        rate=section.rate,
        max_seconds=section.job_seconds,
        foreign=section.foreign,
    )


def service_name(folder: Path) -> str:
    """Return the name by which the service in *folder* finds its own jobs, made once.

    Raises: CannotCreateError.
    """
    file = folder / "service.id"
    try:
        if not file.exists():
            write_private(file, f"{secrets.token_hex(16)}\n".encode())
        return file.read_text().strip()[:32]
    except OSError as error:
        raise CannotCreateError(f"cannot read '{file}': {error.strerror}") from None


def hold(folder: Path) -> int:
    """Return a lock on *folder*, which ends with this process: two services would end each other's jobs.

    Raises: BusyError, CannotCreateError.
    """
    try:
        lock = os.open(folder / "service.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreateError(f"cannot write in '{folder}': {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise BusyError(f"another service works in '{folder}'") from None
    return lock
