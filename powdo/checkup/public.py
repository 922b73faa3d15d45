"""What a public server needs: directories for relay and blobs, whom it lets in, and both of them running."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from powdo.checkup.findings import Finding, attempted, doubtful, failed, good, skipped
from powdo.errors import RetryLaterError
from powdo.settings import Settings


def public(settings: Settings, timeout: float) -> Iterator[Finding]:
    """Yield what is found of the relay and the Blossom server that this configuration describes."""
    for name in ("relay", "blossom"):
        if name not in settings.sections:
            continue
        section = getattr(settings, name)
        yield from attempted(name, partial(_folder, name, section.data))
        if section.url is None and not section.listen.startswith(("127.", "localhost", "[::1]")):
            yield doubtful(name, f"listens on {section.listen} without a url", "give it the url clients use")
        yield _running(name, section.listen, timeout)
    yield from attempted("allowlist", lambda: _allowlist(settings))


def _folder(name: str, data: Path | None) -> Iterator[Finding]:
    from powdo.checkup.machine import directory

    if data is None:
        yield skipped(name, f"no data in [{name}]", "run powdo init server, or give --data")
        return
    yield from directory(f"{name} data", data)


def _running(name: str, listen: str, timeout: float) -> Finding:
    """Return whether the server answers on this machine."""
    from powdo.settings.units import parse_listen

    host, port = parse_listen(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # where to ask, not to listen
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    from powdo.adapters.relay.information import information

    try:
        told = information(f"ws://{place}", timeout=timeout)
    except RetryLaterError:
        return failed(name, RetryLaterError(f"nothing answers on {listen}"), f"start it: powdo {name} serve")
    if name == "relay" and not told.document:
        return doubtful(name, f"something else answers on {listen}", "stop it, or choose another address")
    return good(name, f"answers on {listen}")


def _allowlist(settings: Settings) -> Iterator[Finding]:
    """Yield how many keys are let in, and warn where there are none."""
    from powdo.servers.allowlist import Allowlist

    lists: dict[Path, set[str]] = {}
    for section in (settings.relay, settings.blossom):
        if section.allowlist is not None:
            lists.setdefault(section.allowlist, set()).update(section.allow)
    if len(lists) > 1:
        yield doubtful("allowlist", "relay and Blossom server have two", "name one file in both sections")
    for path, always in sorted(lists.items()):
        count = len(Allowlist(path, always).pubkeys())
        if count:
            yield good("allowlist", f"{count} {'key' if count == 1 else 'keys'} with '{path}'")
        else:
            yield doubtful(
                "allowlist",
                f"'{path}' lets nobody in; what --allow says on a command line is not seen here",
                "run powdo users add at the operator's",
            )
