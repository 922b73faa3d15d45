"""`powdo upload`: bundles go to the Blossom servers, under the access key.

Rules:
- the file is hashed again before it leaves: what the record describes is what is uploaded;
- the first server must take it, the others are told about when they do not;
- the descriptors are in the outbox before the record is written; what is uploaded already gives its
  record again and no work. A bundle that the outbox does not know is uploaded all the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from powdo.errors import BadRecordError, ConfigurationError, PeerAwayError, PowdoError
from powdo.options import Run, command, dry_run_option, filter_options, network_options, pending_option

if TYPE_CHECKING:
    from pathlib import Path

    from powdo.adapters.blossom import BlossomClient
    from powdo.adapters.outbox import Entry
    from powdo.nips.blossom import Descriptor
    from powdo.records import Bundle

_ZIP = "application/zip"
#: For so long a server that was away is not asked again in the same run.
_REST = 60.0


@command(
    "upload",
    epilog="powdo capture | powdo bundle | powdo upload\npowdo bundle --pending | powdo upload --pending",
)
@filter_options
@pending_option
@network_options
@dry_run_option
def upload(run: Run, files: tuple[str, ...], pending: bool, timeout: float, dry_run: bool) -> None:
    """Put bundles on the Blossom servers.

    Reads bundle records, writes them with their blobs: one descriptor a server.
    """
    uploader = _Uploader(run, timeout, dry=dry_run)
    run.stage(
        files,
        uploader.show if dry_run else uploader.handle,
        key=lambda obj: f"{obj.get('id')} {obj.get('sha256')}",
        pending=uploader.pending if pending else None,
        next_retry=uploader.next_retry,
    )


class _Uploader:
    """One run of the command: the outbox, and a client a server, made when first needed."""

    def __init__(self, run: Run, timeout: float, *, dry: bool) -> None:
        from powdo.adapters.outbox import Outbox

        self._run = run
        self._timeout = timeout
        self._dry = dry
        self._outbox = Outbox(run.settings.state_dir)
        self._clients: list[BlossomClient] = []
        self._away: dict[str, tuple[float, PeerAwayError]] = {}
        self._started = False
        if not run.settings.worker.blossom:
            raise ConfigurationError(
                "no Blossom server to upload to",
                hint="name one in powdo.toml: [worker] blossom = ['https://…']",
            )

    # --- the queue ---

    def pending(self) -> Iterator[dict[str, Any]]:
        """Yield what waits, at the start all of it, later what is due, until the server is found away."""
        first, self._started = not self._started, True
        if first and not self._dry:
            self._send_again()
        for entry in self._outbox.waiting("upload", due=None if first else int(time.time())):
            if self._rest(self._run.settings.worker.blossom[0]) is not None:
                self._run.console.info("the other bundles wait until the server is back")
                return
            if entry.bundle is not None:
                yield entry.bundle.to_json()

    def _send_again(self) -> None:
        """Let wait what no receipt covers; only at the start, since a run does everything once."""
        after, now = self._run.settings.worker.resend_after, int(time.time())
        self._outbox.set_right(now=now)
        if not self._outbox.unanswered(now=now, after=after):
            return
        with self._outbox.lock("upload"), self._outbox.lock("wrap"):
            again = self._outbox.resend_due(now=now, after=after)
        if again:
            self._run.console.info(f"no receipt has come for {len(again)} bundles, which are sent again")

    def next_retry(self) -> float | None:
        """Return the unix time of the next try, or None."""
        return self._outbox.next_retry("upload")

    # --- one bundle ---

    def show(self, obj: dict[str, Any]) -> Iterator[Bundle]:
        """Yield the bundle record *obj* with the blobs that an upload would give it; nobody is asked."""
        from dataclasses import replace
        from pathlib import Path

        from powdo.adapters.blossom import check_file
        from powdo.nips.blossom import Descriptor, blob_url
        from powdo.records import Bundle

        bundle = Bundle.from_json(obj)
        entry = self._outbox.get(bundle.id)
        blobs = () if entry is None else _same(entry, bundle).blobs
        if not blobs:
            check_file(Path(bundle.path), sha256=bundle.sha256, size=bundle.size)
            blobs = tuple(
                Descriptor(
                    url=blob_url(server, bundle.sha256, _ZIP),
                    sha256=bundle.sha256,
                    size=bundle.size,
                    type=_ZIP,
                    uploaded=int(time.time()),
                ).to_json()
                for server in self._run.settings.worker.blossom
            )
        yield replace(bundle, blobs=blobs)

    def handle(self, obj: dict[str, Any]) -> Iterator[Bundle]:
        """Yield the bundle record *obj* with its blobs, durable by then."""
        from dataclasses import replace

        from powdo.records import Bundle

        bundle = Bundle.from_json(obj)
        with self._outbox.lock("upload"):
            entry = self._outbox.get(bundle.id)
            if entry is None:
                result = replace(bundle, blobs=self._upload(bundle))
            else:
                stored = _same(entry, bundle)
                if not stored.blobs:
                    stored = self._outbox.add_blobs(bundle.id, self._queued(bundle))
                result = replace(stored, key=bundle.key, extra=bundle.extra)
        yield result

    def _queued(self, bundle: Bundle) -> tuple[dict[str, Any], ...]:
        """Return the blobs of a bundle of the outbox; a failure is noted there, for the next try."""
        try:
            return self._upload(bundle)
        except PowdoError as error:
            self._outbox.defer(bundle.id, error.message, now=int(time.time()))
            raise

    def _upload(self, bundle: Bundle) -> tuple[dict[str, Any], ...]:
        """Return one descriptor a server that has the bundle now, the first server's first."""
        from pathlib import Path

        from powdo.adapters.blossom import check_file

        path = Path(bundle.path)
        check_file(path, sha256=bundle.sha256, size=bundle.size)
        blobs = []
        for number, client in enumerate(self._servers()):
            try:
                blob = self._put(client, bundle, path)
            except PowdoError as error:
                if number == 0:
                    raise
                self._run.console.warning(error.message, hint=error.hint)
            else:
                blobs.append(blob.to_json())
                self._run.console.info(f"'{client.server}' has '{bundle.id}'")
        return tuple(blobs)

    def _put(self, client: BlossomClient, bundle: Bundle, path: Path) -> Descriptor:
        """Return what the server says of *bundle*; one that was away a moment ago is not waited for again."""
        if (error := self._rest(client.server)) is not None:
            raise error
        try:
            with self._run.progress(f"uploading '{bundle.id}'", bundle.size) as progress:
                return client.upload(path, sha256=bundle.sha256, size=bundle.size, progress=progress.advance)
        except PeerAwayError as failure:
            self._away[client.server] = (time.monotonic() + _REST, failure)
            raise

    def _rest(self, server: str) -> PeerAwayError | None:
        """Return why *server* is left alone for now, or None."""
        until, error = self._away.get(server, (0.0, None))
        return error if time.monotonic() < until else None

    def _servers(self) -> list[BlossomClient]:
        """Return the clients, the first server's first, signing with the access key."""
        if not self._clients:
            from powdo.adapters.blossom import BlossomClient

            user = self._run.settings.identity.access_user
            if user is None:
                raise ConfigurationError(
                    "no access key to upload with",
                    hint="`powdo init worker` makes one; see [identity] access_user",
                )
            key = self._run.key(user)
            self._clients = [
                BlossomClient(server, key, timeout=self._timeout)
                for server in self._run.settings.worker.blossom
            ]
        return self._clients


def _same(entry: Entry, bundle: Bundle) -> Bundle:
    """Return the outbox's record of *bundle*. Raises: BadRecordError when it is of other bytes."""
    if entry.bundle is None or entry.bundle.sha256 != bundle.sha256:
        raise BadRecordError(f"bundle '{bundle.id}' is another one in the outbox")
    return entry.bundle
