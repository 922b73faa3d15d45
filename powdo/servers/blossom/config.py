"""What the Blossom server is told; nothing here changes while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from powdo.errors import ConfigurationError
from powdo.nips.blossom import OCTETS, domain, is_loopback
from powdo.servers.proxies import Network
from powdo.settings.retention import Rule
from powdo.settings.units import check_url

MAX_SIZE = 64 << 20


def _silent(_text: str) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Config:
    """*url* is what the world calls this server; without it the address it listens on.

    *mirror_hosts* are origins `scheme://host[:port]`; without any nothing is mirrored.
    """

    host: str
    port: int
    data: Path
    url: str | None = None
    allow: tuple[str, ...] = ()
    allowlist: Path | None = None
    open: bool = False
    private: bool = False
    max_size: int = MAX_SIZE
    types: frozenset[str] = frozenset({"application/zip", OCTETS})
    trusted_proxies: tuple[Network, ...] = ()
    mirror_hosts: tuple[str, ...] = ()
    retention: tuple[Rule, ...] = ()
    sweep_interval: float = 60.0
    idle_timeout: float = 20.0
    min_rate: int = 4096
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
