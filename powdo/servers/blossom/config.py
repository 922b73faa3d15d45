"""What the Blossom server is told; nothing here changes while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from powdo.errors import ConfigurationError
from powdo.nips.blossom import OCTETS, domain, is_loopback
from powdo.servers.proxies import Network, parse_networks
from powdo.settings.retention import Rule
from powdo.settings.schema import Blossom as Section
from powdo.settings.units import check_url

_DEFAULT = Section()
_LOOPBACK = parse_networks(("127.0.0.0/8", "::1/128"))


def _silent(_text: str) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Config:
    """*url* is what the world calls this server; without it the address it listens on.

    *mirror_hosts* are origins `scheme://host[:port]`; without any nothing is mirrored. Connections from
    *uncounted* networks have no limit by address.
    """

    host: str
    port: int
    data: Path
    url: str | None = None
    allow: tuple[str, ...] = ()
    allowlist: Path | None = None
    open: bool = False
    private: bool = False
    max_size: int = _DEFAULT.max_size
    types: frozenset[str] = frozenset({"application/zip", OCTETS})
    trusted_proxies: tuple[Network, ...] = ()
    mirror_hosts: tuple[str, ...] = ()
    retention: tuple[Rule, ...] = ()
    sweep_interval: float = 60.0
    uncounted: tuple[Network, ...] = _LOOPBACK
    quota: int = _DEFAULT.quota
    quota_blobs: int = _DEFAULT.quota_blobs
    capacity: int | None = _DEFAULT.capacity
    min_free: int | None = _DEFAULT.min_free
    max_uploads: int = _DEFAULT.max_uploads
    max_uploads_per_pubkey: int = _DEFAULT.max_uploads_per_pubkey
    max_uploads_per_address: int = _DEFAULT.max_uploads_per_address
    max_connections: int = _DEFAULT.max_connections
    max_connections_per_address: int = _DEFAULT.max_connections_per_address
    header_timeout: float = _DEFAULT.header_timeout
    idle_timeout: float = _DEFAULT.idle_timeout
    min_rate: int = _DEFAULT.min_rate
    shutdown_timeout: float = 10.0
    ready: Callable[[str], None] = field(default=_silent)
    log: Callable[[str], None] = field(default=_silent)
    tell: Callable[[str], None] = field(default=_silent)
    warn: Callable[[str], None] = field(default=_silent)

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise ConfigurationError("the greatest size of a blob must be at least one byte")
        if self.url is not None:
            check_url(self.url, ("http",))

    @classmethod
    def of(cls, section: Section, **given: Any) -> Config:
        """Return what [blossom] says, but for what is *given*."""
        known = {item.name for item in fields(cls)}
        told = {name: value for name, value in section._asdict().items() if name in known}
        return cls(**(told | given))

    def local(self, port: int) -> str:
        """Return the URL under which this machine reaches the server, once it listens on *port*."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # compared, not bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def base(self, port: int) -> str:
        """Return the URL that descriptors begin with."""
        return self.local(port) if self.url is None else self.url.rstrip("/")

    def domains(self, port: int) -> frozenset[str]:
        """Return the names under which `server` tags may call this server; never what a client says."""
        name = domain(self.base(port))
        names = {name}
        if self.url is None and is_loopback(name):
            names |= {"localhost", "127.0.0.1", "::1"}
        return frozenset(names | {f"[{each}]" for each in names if ":" in each})
