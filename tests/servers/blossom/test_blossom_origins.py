"""Whom a mirror connects to: hosts that were named, where they are public, and nobody else."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from powdo.servers.blossom.origins import is_public
from tests.blossom_server import Blossom, running
from tests.conftest import Powdo
from tests.servers.blossom.origin import DATA, Origin, certificate_of, mirror, serving


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("ftp://127.0.0.1/x", 400),
        ("file:///etc/passwd", 400),
        ("//127.0.0.1/x", 400),
        ("x", 400),
        ("", 400),
        ("http:///x", 400),
        ("https://ana@origin.example/x", 400),
        ("https://origin.example\\@127.0.0.1/x", 400),
        ("https://origin.example/a b", 400),
        ("https://origin.example/\r\nX: y", 400),
        ("https://origin.example:0/x", 400),
        ("https://origin.example:99999/x", 400),
        ("https://[::1/x", 400),
        ("http://origin.example/x", 400),
        ("http://169.254.169.254/latest", 400),
        ("http://2130706433/x", 400),
        ("http://0x7f000001/x", 400),
        # Python 3.13 writes such an address as it is here; by earlier ones the URL is refused sooner.
        ("http://[::ffff:127.0.0.1]:{port}/x", 403 if sys.version_info >= (3, 13) else 400),
        ("https://[::ffff:127.0.0.1]:{port}/x", 403),
        ("https://127.0.0.1:{port}/x", 403),
        ("http://127.0.0.1:1/x", 403),
        ("http://127.0.0.2:{port}/x", 403),
        ("http://localhost:{port}/x", 403),
        ("http://[::1]:{port}/x", 403),
        ("https://other.example/x", 403),
        ("https://origin.example.evil.example/x", 403),
        ("https://evil.example/https://origin.example/x", 403),
        ("https://evil.example?origin.example", 403),
        ("https://evil.example#origin.example", 403),
    ],
)
def test_no_address_that_was_not_named_is_asked(
    mirroring: Blossom, origin: Origin, url: str, status: int
) -> None:
    """Scheme, host and port must be those of the configuration, however the address is written."""
    url = url.replace("{port}", origin.url.rpartition(":")[2])
    assert mirror(mirroring, url).status == status
    assert origin.requests == []


def _resolving(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> list[str]:
    """Let *names* (`a_example` for a.example) have these addresses; return the names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = str(host).replace(".", "_")
        if name not in names:
            return real(host, port, *args, **options)
        asked.append(host)
        options.pop("flags", None)
        return [found for address in names[name] for found in real(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"]
)
def test_a_name_that_leads_inside_is_not_followed(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A listed name whose address is not public is 502, looked up once, and nothing is connected to."""
    asked = _resolving(monkeypatch, inside_example=[address])
    port = origin.url.rpartition(":")[2]
    with running(tmp_path / "m", open=True, mirror_hosts=(f"https://inside.example:{port}",)) as server:
        assert mirror(server, f"https://inside.example:{port}/x").status == 502
    assert asked == ["inside.example"]
    assert origin.requests == []


def test_localhost_leads_here_when_it_is_named(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator may name localhost; it is this machine and no other, whatever a resolver says."""
    url = origin.url.replace("127.0.0.1", "localhost")
    with running(tmp_path / "m", open=True, mirror_hosts=(url,)) as server:
        assert mirror(server, f"{url}/x").status == 201
        _resolving(monkeypatch, localhost=["10.0.0.1"])
        assert mirror(server, f"{url}/x").status == 502
        assert mirror(server, f"{origin.url}/x").status == 403


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:1.1.1.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("100::1", False),
        ("2001:0:1::1", False),
        ("2001:db8::1", False),
        ("2002:7f00:1::1", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_only_hosts_of_the_internet_are_public(address: str, public: bool) -> None:
    """Private, shared, loopback, link-local, mapped, tunnelled, reserved and multicast addresses are not."""
    assert is_public(address) is public


def test_an_origin_must_prove_its_name(tmp_path: Path) -> None:
    """Over TLS a certificate that this machine does not trust is 502; trusted, the blob comes."""
    certificate = certificate_of(tmp_path)
    with serving(certificate) as origin:
        origin.says(DATA)
        (tmp_path / "powdo.toml").write_text(f'[blossom]\nmirror_hosts = ["{origin.url}"]\n')
        for trusted, status in ((os.devnull, 502), (str(certificate), 201)):
            process = Powdo(("-m", "powdo")).start(
                *("blossom", "serve", "--listen", "127.0.0.1:0", "--open", "--data", str(tmp_path / "data")),
                env={"POWDO_CONFIG": str(tmp_path / "powdo.toml"), "SSL_CERT_FILE": trusted},
            )
            assert process.stdout is not None
            server = Blossom(json.loads(process.stdout.readline())["url"], tmp_path / "data")
            assert mirror(server, f"{origin.url}/x").status == status
            process.terminate()
            assert process.communicate(timeout=20) == (b"", b"")
