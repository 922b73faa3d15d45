"""The command lines of units and crontabs, as they stand, move a bundle from a worker to Kimai and back."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.activitywatch_double import Double as Watching
from tests.capture_helpers import ROOT
from tests.kimai_double import Double as Kimai

_UNITS = ROOT / "contrib/systemd"
_PATIENCE = 60.0


@dataclass(frozen=True)
class Machine:
    """One machine: a folder that stands for its root, and powdo where units and crontabs look for it."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> Machine:
        """Return a machine with powdo installed, its directories private."""
        for name in ("bin", "etc", "home", "state"):
            (root / name).mkdir(parents=True, mode=0o700)
        script = root / "bin/powdo"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m powdo "$@"\n')
        (root / "bin/sleep").write_text("#!/bin/sh\nexit 0\n")  # the jitter of a crontab
        for name in ("powdo", "sleep"):
            (root / "bin" / name).chmod(stat.S_IRWXU)
        for name in ("powdo-client", "powdo-server"):
            (root / "bin" / name).symlink_to(ROOT / "bin" / name)
        return cls(root)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a command on this machine."""
        own = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "HOME": f"{self.root}/home",
            "PYTHONPATH": str(ROOT),
            "POWDO_CONFIG": f"{self.root}/etc/powdo.toml",
            "TZ": f"Etc/GMT{datetime.now(UTC).hour - 12:+d}",  # noon: a first look goes back to midnight only
        }
        return own | more

    def here(self, text: str) -> str:
        """Return *text* of a unit with the paths of this machine; a look does not wait for its moment."""
        places = {"/usr/local/bin": "bin", "/etc/powdo": "etc", "%S": "state", "%h": "home"}
        for there, place in places.items():
            text = re.sub(f"(?<!%){there}", f"{self.root}/{place}", text)
        return re.sub(r"--spread \d+", "--spread 1", text).replace("%%", "%").replace("$$", "$")

    def unit(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the command line of a service and the environment that systemd would give it."""
        text = (_UNITS / f"{name}.service").read_text()
        (line,) = re.findall(r"(?m)^ExecStart=(.*)$", text)
        more = dict(pair.split("=", 1) for pair in re.findall(r"(?m)^Environment=(\w+=.*)$", text))
        more.pop("PATH", None)
        more = {key: self.here(value) for key, value in more.items()}
        folders = " ".join(re.findall(r"(?m)^StateDirectory=(.*)$", text)).split()
        for folder in folders:
            (self.root / "state" / folder).mkdir(mode=0o700, exist_ok=True)
        if folders:
            more["STATE_DIRECTORY"] = ":".join(str(self.root / "state" / folder) for folder in folders)
        credentials = dict(re.findall(r"(?m)^#?LoadCredential=([\w-]+):(.*)$", text))
        if credentials:
            place = self.root / "credentials" / name
            place.mkdir(parents=True, mode=0o700, exist_ok=True)
            for credential, source in credentials.items():
                if (found := Path(self.here(source))).exists():
                    (place / credential).write_bytes(found.read_bytes())
            more["CREDENTIALS_DIRECTORY"] = str(place)
        return self.here(line), self.environment(**more)

    def run(self, line: str, **env: str) -> str:
        """Run a shell *line* that must succeed in silence on stderr; return what it writes."""
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{line}: {done.stderr}"
        return done.stdout

    def once(self, name: str) -> None:
        """Run a oneshot unit to its end."""
        line, environment = self.unit(name)
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, timeout=_PATIENCE
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{name}: {done.stderr}"

    @contextmanager
    def service(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service until the block ends, then end it as systemd does: all of it, by SIGTERM."""
        line, environment = self.unit(name)
        with subprocess.Popen(
            shlex.split(line), env=environment, stdout=subprocess.PIPE, start_new_session=True
        ) as process:
            try:
                yield process
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                assert process.wait(_PATIENCE) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)

    def cron(self, name: str) -> list[str]:
        """Return the command lines of a crontab."""
        lines = (ROOT / "contrib/cron" / f"powdo-{name}").read_text().splitlines()
        matches = (re.fullmatch(r"[-\d*/]+(?: +[-\d*/]+){4} +(.*)", line) for line in lines)
        return [self.here(match[1]) for match in matches if match]


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _listening(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    url: str = json.loads(process.stdout.readline())["url"]
    return url


@dataclass
class Line:
    """A worker and an operator, set up, their servers and Kimai running."""

    worker: Machine
    operator: Machine
    public: Machine
    kimai: Kimai

    def ingested(self) -> bool:
        """Return whether the DVM has the bundle."""
        return self.report("report --by app --json").count("Code") > 0

    def report(self, words: str) -> str:
        """Return what an operator's command writes, in the environment of their units."""
        _, environment = self.operator.unit("powdo-kimai-sync")
        return self.operator.run(f"powdo {words}", **environment)

    def check(self) -> None:
        """Assert that the timesheet is in Kimai and its receipt at the worker's."""
        assert len(self.kimai.kimai.rows) == 1
        states = [json.loads(row) for row in self.worker.run("powdo status --json").splitlines()]
        counts = {row["what"]: row["count"] for row in states}
        assert counts["acknowledged"] == 1, counts


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Return a line whose relay and Blossom server are the units' own."""
    worker, operator, public = (Machine.create(tmp_path / name) for name in ("worker", "operator", "public"))
    secret = "5" * 64
    public.run(f"umask 077; printf {secret} >{public.root}/etc/relay-admin.secret")
    config = public.root / "etc/powdo.toml"
    config.touch(0o600)
    config.write_text("".join(f'[{name}]\nlisten = "127.0.0.1:0"\n' for name in ("relay", "blossom", "pow")))
    with ExitStack() as running:
        relay = _listening(running.enter_context(public.service("powdo-relay")))
        blossom = _listening(running.enter_context(public.service("powdo-blossom")))
        kimai = running.enter_context(Kimai())
        watching = running.enter_context(Watching())
        _set_up(worker, operator, relay, blossom, watching, kimai, secret)
        yield Line(worker, operator, public, kimai)


def _set_up(
    worker: Machine,
    operator: Machine,
    relay: str,
    blossom: str,
    watching: Watching,
    kimai: Kimai,
    secret: str,
) -> None:
    """Give both sides their configuration, keys and something to do."""
    places = f"--relay {relay} --blossom {blossom} --yes -q"
    _, environment = operator.unit("powdo-listen")
    operator.run(f"powdo init operator {places}", **environment | {"CREDENTIALS_DIRECTORY": ""})
    dvm = operator.run("powdo keys show dvm", **environment | {"CREDENTIALS_DIRECTORY": ""}).strip()
    worker.run(f"powdo init worker --user ana --dvm {dvm} {places}")
    now = int(time.time() * 1e6)
    seen = [(now - 1800 * 10**6, now - 900 * 10**6, {"app": "Code", "title": "shop"})]
    watching.buckets["aw-watcher-window_desk"] = ("currentwindow", seen)
    with (worker.root / "etc/powdo.toml").open("a") as file:
        file.write(f'\n[capture]\nactivitywatch = "{watching.url}"\nscreenshots = false\n')
    kimai.kimai.people()
    kimai.kimai.add_customer("Acme")
    kimai.kimai.add_project("Shop", 1)
    kimai.kimai.add_activity("Development")
    with (operator.root / "etc/powdo.toml").open("a") as file:
        file.write(
            f'\n[kimai]\nurl = "{kimai.url}"\n[allow]\nurl = "{relay.replace("ws:", "http:")}"\n'
            '[[rule]]\nname = "all"\napp = "."\ncustomer = "Acme"\nproject = "Shop"\n'
            'activity = "Development"\nalways_active = true\n'
        )
    for name, text in (("kimai.token", "manager"), ("relay-admin.secret", secret)):
        operator.run(f"umask 077; printf {text} >{operator.root}/etc/{name}")
    identity, access = (worker.run(f"powdo keys show {name}").strip() for name in ("ana", "ana-access"))
    _, environment = operator.unit("powdo-allow-sync")
    operator.run(
        f"powdo users add {identity} --name ana --access {access} --kimai-user 4 --timezone UTC",
        **environment | {"NSEC_MASTER_KEY_FILE": f"{operator.root}/etc/master.key"},
    )


def test_the_units(line: Line) -> None:
    """Services and oneshot units, in the environment that systemd gives them, carry a bundle through."""
    with line.operator.service("powdo-allow-sync"), line.operator.service("powdo-listen"):
        line.worker.once("powdo-capture")
        line.worker.once("powdo-send")
        _eventually(line.ingested)
    for name in ("powdo-receipts", "powdo-kimai-sync", "powdo-prune"):
        line.operator.once(name)
    line.worker.once("powdo-send")
    line.check()
    for name in ("powdo-blossom-prune", "powdo-relay-backup"):
        line.public.once(name)
    backups = list((line.public.root / "state/powdo-relay-backups").glob("relay-*.sqlite"))
    assert len(backups) == 1, datetime.now(UTC)
    with line.public.service("powdo-pow") as process:
        assert _listening(process).startswith("ws://127.0.0.1:")
    with line.operator.service("powdo-ingest@") as process:
        time.sleep(1)
        assert process.poll() is None


def test_the_crontabs(line: Line) -> None:
    """The lines of the three crontabs do the same, in silence, as cron wants it."""
    _, environment = line.operator.unit("powdo-kimai-sync")
    etc = line.operator.root / "etc"
    environment |= {
        "NSEC_MASTER_KEY_FILE": f"{etc}/master.key",
        "NOSTR_RELAY_ADMIN_SECRET_FILE": f"{etc}/relay-admin.secret",
    }
    for command in line.worker.cron("worker"):
        assert line.worker.run(command) == ""
    (sync,) = re.findall(
        r"(?m)^# \S+ +\* \* \* \* +(.*)$", (ROOT / "contrib/cron/powdo-operator").read_text()
    )
    for command in [sync, *line.operator.cron("operator")]:
        assert line.operator.run(command, **environment) == ""
    for command in line.worker.cron("worker"):
        line.worker.run(command)
    line.check()
    _, own = line.public.unit("powdo-blossom")
    data = {"POWDO_DATA_DIR": str(line.public.root / "state/powdo-blossom")}
    for command in line.public.cron("server"):
        assert line.public.run(f"{command} --data {data['POWDO_DATA_DIR']}", **own | data) == ""


def test_every_unit_is_run_here() -> None:
    """No unit is left out of the tests above."""
    names: set[Any] = {path.stem for path in _UNITS.glob("*.service")}
    told = set(re.findall(r'"(powdo-[a-z-]+@?)"', Path(__file__).read_text()))
    assert names <= told, names - told
