"""The set-up of README.md, word for word, between machines with TLS, until a timesheet is in Kimai."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

from tests.capture_helpers import ROOT
from tests.kimai_double import Double
from tests.real.test_operating import BLOSSOM, RELAY, free_port, nginx, running
from tests.sides import DAY, Side, deliver, export
from tests.socks_proxy import socks_proxy
from tests.tls_proxy import certificate

_TEXT = (ROOT / "README.md").read_text("utf-8")


def _block(words: str) -> list[str]:
    """Return the lines of the block after the paragraph that begins with *words*."""
    after = _TEXT[_TEXT.index(f"\n{words}") :]
    found = re.search(r"\n\n((?:    .*\n|\n)+)", after)
    assert found is not None
    return [line[4:] for line in found[1].splitlines()]


def _run(side: Side, words: str, npubs: dict[str, str]) -> list[str]:
    """Run the commands of a block, with the npubs that it leaves open; return what they write."""
    written = []
    for line in _block(words):
        for name, npub in sorted(npubs.items(), reverse=True):
            line = line.replace(f"npub1…{name}", npub)
        if line.startswith("powdo ") and " serve " not in line:
            written.append(side.ok(*shlex.split(line, comments=True)[1:]).decode().strip())
    return written


def test_the_set_up_works_as_it_is_written(tmp_path: Path) -> None:
    """Operator, worker and public server are set up by the README's commands, and a timesheet arrives."""
    for name in ("worker", "operator", "public"):
        (tmp_path / name).mkdir(mode=0o700)
    pem = certificate(tmp_path, RELAY, BLOSSOM)
    port = free_port()
    with socks_proxy({RELAY: port, BLOSSOM: port}) as names, Double() as kimai:
        trust = {"POWDO_PROXY": names.url, "SSL_CERT_FILE": str(pem), "REQUESTS_CA_BUNDLE": str(pem)}
        worker, operator = (Side(tmp_path / name, trust, None) for name in ("worker", "operator"))
        public = Side(tmp_path / "public")
        _, dvm = _run(operator, "**The operator** makes", {})
        _, identity, access = _run(worker, "**The worker** makes", {"": dvm})
        npubs = {"ana": identity, "access": access, "dvm": dvm}
        _run(public, "**The public server** lets", {})
        servers = [
            shlex.split(line.replace("npub1…access", access).replace("npub1…dvm", dvm))[1:]
            for line in _block("**The public server** lets")
            if " serve " in line
        ]
        assert [words[0] for words in servers] == ["relay", "blossom"]
        with (
            public.serving(*servers[0]) as relay,
            public.serving(*servers[1]) as blossom,
            running(nginx(tmp_path, port, pem, relay, blossom), tmp_path, port),
        ):
            _enroll(operator, kimai, npubs, public)
            found = export(tmp_path, 9, project="acme-shop")
            worker.ok("capture", "--activity", str(found), "--no-screenshots", "--since", DAY)
            (row,) = deliver(worker, operator).splitlines()
            assert json.loads(row)["type"] == "ingested"
            (sent,) = operator.ok("kimai-sync", "--since", DAY).splitlines()
        assert (json.loads(sent)["action"], len(kimai.kimai.rows)) == ("created", 1)


def _enroll(operator: Side, kimai: Double, npubs: dict[str, str], public: Side) -> None:
    """Write what the README has the operator write, with our Kimai in the place of theirs, and enroll ana."""
    kimai.kimai.people()
    kimai.kimai.add_customer("Acme")
    kimai.kimai.add_project("Shop", 1)
    kimai.kimai.add_activity("Development")
    lines = _block("**The operator** enrolls")
    toml = "\n".join(line for line in lines if not line.startswith("powdo "))
    assert "https://kimai.example" in toml
    folder = operator.folder / ".config/powdo"
    with (folder / "powdo.toml").open("a") as file:
        file.write(toml.replace("https://kimai.example", kimai.url))
    secret = (public.folder / ".config/powdo/relay-admin.secret").read_text()
    for name, text in (("kimai.token", "manager"), ("relay-admin.secret", secret)):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)
    _run(operator, "**The operator** enrolls", npubs)
