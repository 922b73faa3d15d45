"""Every test has a world of its own: home, configuration, state and data lie in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
_CLEARED = (
    "NSEC_MASTER_KEY",
    "NSEC_MASTER_KEY_FILE",
    "NOSTR_RELAY_URL",
    "NOSTR_RELAY_ADMIN_URL",
    "NOSTR_RELAY_ADMIN_SECRET",
    "NOSTR_RELAY_ADMIN_SECRET_FILE",
    "NOSTR_PUBLIC_RELAYS",
    "NOSTR_ENABLED",
    "NOSTR_ALLOWLIST_SYNC_INTERVAL",
    "POWDO_PROXY",
    "POWDO_KIMAI_TOKEN",
    "POWDO_MINER",
    "POWDO_KIMAI_TOKEN_FILE",
    "STATE_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "JOURNAL_STREAM",
    "_POWDO_COMPLETE",
)

#: Whoever runs the tests in the background (`nohup`, `&`) has these ignored, and every child would, too.
for _number, _handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(autouse=True)
def own_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point home, XDG and powdo's variables into a folder of the test's own; return that folder."""
    from powdo.settings import environment

    world = tmp_path_factory.mktemp("world")
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)
    places = {
        "HOME": "home",
        "XDG_CONFIG_HOME": "home/.config",
        "XDG_STATE_HOME": "home/.local/state",
        "XDG_DATA_HOME": "home/.local/share",
        "XDG_CACHE_HOME": "home/.cache",
        "XDG_RUNTIME_DIR": "run",
        "POWDO_CONFIG": "powdo.toml",
        "POWDO_STATE_DIR": "state",
        "POWDO_DATA_DIR": "data",
    }
    (world / "home").mkdir(mode=0o700)
    (world / "run").mkdir(mode=0o700)
    for name, place in places.items():
        monkeypatch.setenv(name, str(world / place))
    monkeypatch.setattr(environment, "_secrets", {})
    return world


@pytest.fixture(autouse=True)
def closed_outboxes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every outbox that a test opens in this process; commands leave that to their end."""
    from powdo.adapters.outbox.base import Store

    opened: list[Store] = []
    make = Store.__init__

    def remember(self: Store, directory: Path, **wishes: float) -> None:
        make(self, directory, **wishes)
        opened.append(self)

    monkeypatch.setattr(Store, "__init__", remember)
    yield
    for store in opened:
        store.close()


class Powdo:
    """Runs powdo, or a program of the tests that is built like it, as a process of its own."""

    def __init__(self, program: tuple[str, ...]) -> None:
        self.command = (sys.executable, *program)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return this process's environment, in which powdo can be imported, and *extra*."""
        return os.environ | {"PYTHONPATH": str(ROOT)} | dict(extra or {})

    def __call__(
        self,
        *arguments: str,
        stdin: bytes | int = b"",
        env: Mapping[str, str] | None = None,
        **options: object,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end and return what came out."""
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options["input" if isinstance(stdin, bytes) else "stdin"] = stdin
        return subprocess.run(  # type: ignore[call-overload]  # the caller's own options
            [*self.command, *arguments], env=self.environment(env), timeout=60, check=False, **options
        )

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, **options: object
    ) -> subprocess.Popen[bytes]:
        """Start with pipes on all streams and return the process."""
        for name in ("stdin", "stdout", "stderr"):
            options.setdefault(name, subprocess.PIPE)
        return subprocess.Popen(  # type: ignore[call-overload]  # the caller's own options
            [*self.command, *arguments], env=self.environment(env), **options
        )


@pytest.fixture
def powdo() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return a runner of `python -m powdo`."""
    return Powdo(("-m", "powdo"))


@pytest.fixture
def stage() -> Powdo:
    """Return a runner of a filter that passes records on, through powdo's own main."""
    return Powdo((str(ROOT / "tests" / "echo_stage.py"), "echo"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Make a skipped test a failed one under CI, where every part must be there."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI forbids: {report.longrepr}"
    return report
