"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

from tests.parts import needed

_PATIENCE = 60.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
    ),
    *(
        "--disable-default-apps",
        "--disable-extensions",
        "--no-default-browser-check",
        "--remote-debugging-port=0",
    ),
)
#: Keys as the protocol wants them: the code, and the number that old scripts ask for.
_KEYS = {
    "Tab": ("Tab", 9),
    "Enter": ("Enter", 13),
    "Escape": ("Escape", 27),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowRight": ("ArrowRight", 39),
    "Home": ("Home", 36),
    "End": ("End", 35),
}


class Tab:
    """One page of the browser; keeps what it asked for and what it complained of."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the browser's answer to *method*."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]  # type: ignore[no-any-return]  # it is an object
            self._events.append(message)

    def wait(self, method: str) -> dict[str, Any]:
        """Return what comes with the next event *method*."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for place, event in enumerate(self._events):
                if event.get("method") == method:
                    del self._events[place]
                    return event["params"]  # type: ignore[no-any-return]  # it is an object
            self._events.append(json.loads(self._socket.recv(timeout=_PATIENCE)))
        raise AssertionError(f"{method} did not come")

    def happened(self, method: str) -> list[dict[str, Any]]:
        """Return what came with every event *method* so far."""
        self.run("1")
        return [event["params"] for event in self._events if event.get("method") == method]

    def open(self, path: Path) -> None:
        """Show the page in the file *path*, loaded; what happened before is forgotten."""
        self._events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.wait("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Return what *script* gives in the page, and what its promise gives."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release *key*."""
        code, number = _KEYS[key]
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def look(self, *, width: int = 1280, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Make the window so large, and the person prefer that colour *scheme*."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)


@contextmanager
def browser() -> Iterator[Tab]:
    """Run Chromium with a profile of its own and give its one page."""
    program = needed("chromium")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            with connect(_address(process), max_size=None, proxy=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.wait(30)
            assert process.stderr is not None
            process.stderr.close()


def _address(process: subprocess.Popen[bytes]) -> str:
    """Return where the page of the browser can be driven."""
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(rb"DevTools listening on ws://([^/]+)/", line)
        if found:
            break
    else:
        raise AssertionError("Chromium did not start")
    with urlopen(f"http://{found[1].decode()}/json/list", timeout=_PATIENCE) as answer:
        return next(item["webSocketDebuggerUrl"] for item in json.load(answer) if item["type"] == "page")
