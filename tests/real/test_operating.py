"""The proxies of docs/operating.md, word for word, between a line and its servers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.capture_helpers import ROOT, stop
from tests.parts import needed
from tests.sides import DAY, Side, deliver, export
from tests.socks_proxy import socks_proxy
from tests.tls_proxy import certificate

RELAY, BLOSSOM = "relay.example", "blossom.example"
_TEXT = (ROOT / "docs/operating.md").read_text("utf-8")


def recipe(words: str) -> str:
    """Return the block of the documentation that follows the line that begins with *words*."""
    after = _TEXT[_TEXT.index(f"\n{words}") :]
    found = re.search(r"\n\n((?:    .*\n|\n)+)", after)
    assert found is not None
    return "\n".join(line[4:] for line in found[1].splitlines())


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _behind(text: str, relay: int, blossom: int) -> str:
    """Return a recipe that leads to where the servers listen."""
    assert "127.0.0.1:7777" in text
    assert "127.0.0.1:3000" in text
    return text.replace("127.0.0.1:7777", f"127.0.0.1:{relay}").replace(
        "127.0.0.1:3000", f"127.0.0.1:{blossom}"
    )


def nginx(folder: Path, port: int, pem: Path, relay: int, blossom: int) -> list[str]:
    """Return how nginx is started with the recipe."""
    text = _behind(recipe("With nginx"), relay, blossom)
    assert text.count("listen 443 ssl;") == text.count("# ssl_certificate …; ssl_certificate_key …;") == 2
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    text = text.replace(
        "# ssl_certificate …; ssl_certificate_key …;", f"ssl_certificate {pem}; ssl_certificate_key {pem};"
    )
    paths = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; user root;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\n{text}\n}}\n"
    )
    return [needed("nginx"), "-p", str(folder), "-c", str(config)]


def caddy(folder: Path, port: int, pem: Path, relay: int, blossom: int) -> list[str]:
    """Return how Caddy is started with the recipe, and with a certificate of ours instead of one it gets."""
    text = _behind(recipe("With Caddy"), relay, blossom)
    for name in (RELAY, BLOSSOM):
        assert f"{name} {{\n" in text
        text = text.replace(f"{name} {{\n", f"{name} {{\n    tls {pem} {pem}\n")
    config = folder / "Caddyfile"
    head = f"admin off\nhttps_port {port}\nhttp_port {free_port()}\ndefault_bind 127.0.0.1\n"
    config.write_text(f"{{\n{head}auto_https disable_redirects\n}}\n{text}\n")
    return [needed("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a proxy until the block ends, once it listens on *port*."""
    home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | home)
    try:
        for _ in range(200):
            assert process.poll() is None, (folder / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        stop(process)


@pytest.mark.parametrize("proxy", ["nginx", "caddy"])
def test_the_line_through_a_proxy_with_tls(tmp_path: Path, proxy: str) -> None:
    """Bundles and wraps go through the proxy as documented, under the public addresses, to the DVM."""
    for name in ("worker", "operator", "public", "proxy"):
        (tmp_path / name).mkdir(mode=0o700)
    pem = certificate(tmp_path, RELAY, BLOSSOM)
    port = free_port()
    with socks_proxy({RELAY: port, BLOSSOM: port}) as names:
        trust = {"POWDO_PROXY": names.url, "SSL_CERT_FILE": str(pem), "REQUESTS_CA_BUNDLE": str(pem)}
        worker, operator = (Side(tmp_path / name, trust) for name in ("worker", "operator"))
        public = Side(tmp_path / "public")
        identity, access = worker.ok("keys", "new", "ana", "ana-access").decode().split()
        dvm = operator.ok("keys", "new", "dvm").decode().strip()
        places = ("--relay", f"wss://{RELAY}", "--blossom", f"https://{BLOSSOM}", "--yes")
        worker.ok("init", "worker", "--user", "ana", "--dvm", dvm, *places)
        operator.ok("init", "operator", *places)
        operator.ok("users", "add", identity, "--name", "ana", "--access", access)
        public.ok("init", "server", *places)
        make = {"nginx": nginx, "caddy": caddy}[proxy]
        with (
            public.serving("relay", "serve", "--allow", access, "--allow", dvm) as relay,
            public.serving("blossom", "serve", "--allow", access) as blossom,
            running(make(tmp_path / "proxy", port, pem, relay, blossom), tmp_path / "proxy", port),
        ):
            found = export(tmp_path, 9)
            worker.ok("capture", "--activity", str(found), "--no-screenshots", "--since", DAY)
            (row,) = deliver(worker, operator).splitlines()
    assert json.loads(row)["type"] == "ingested"
    assert set(names.asked) == {RELAY, BLOSSOM}
