"""Screenshots by the real xdg-desktop-portal: with sway's backend, and with one that asks as GNOME's does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jeepney import HeaderFields, Message, message_bus, new_method_return
from jeepney.io.blocking import Proxy, open_dbus_connection
from PIL import Image

from powdo.adapters.screen import portal, tools
from tests.bus import Service, session_bus
from tests.capture_helpers import Worker, opened, stop, unused_url
from tests.parts import need, needed
from tests.sway import headless, until

pytestmark = pytest.mark.real

_SERVICES = Path("/usr/share/dbus-1/services")
_BACKENDS = Path("/usr/share/xdg-desktop-portal/portals")
_NAME = "org.freedesktop.impl.portal.desktop.asking"
_PORTAL = """[portal]
DBusName={name}
Interfaces={interfaces}
UseIn={desktop}
"""


class Asking(Service):
    """A backend that shows the question whether screenshots are allowed, and takes them into *picture*."""

    def __init__(self, address: str, picture: Path, *, allow: bool) -> None:
        super().__init__(address, _NAME)
        self._picture = picture
        self._allow = allow
        self.questions = 0

    def answer(self, call: Message) -> Iterable[Message]:
        """Have version 2, which leaves the question to the frontend; answer it; take the screenshot."""
        member = call.header.fields[HeaderFields.member]
        if member == "GetAll":
            yield new_method_return(call, "a{sv}", ({"version": ("u", 2)},))
        elif member == "AccessDialog":
            self.questions += 1
            yield new_method_return(call, "ua{sv}", (0 if self._allow else 1, {}))
        else:
            assert member == "Screenshot"
            Image.linear_gradient("L").save(self._picture)
            yield new_method_return(call, "ua{sv}", (0, {"uri": ("s", self._picture.as_uri())}))


@contextmanager
def portals(folder: Path, variables: dict[str, str], *services: str, asks: str) -> Iterator[str]:
    """Give the address of a bus that starts the real portal with *services*; *asks* is what Asking offers."""
    (folder / "services").mkdir()
    (folder / "portals").mkdir()
    for name in ("portal.Desktop", "impl.portal.PermissionStore", *services):
        source = _SERVICES / f"org.freedesktop.{name}.service"
        need(source.exists(), source.name)
        shutil.copy(source, folder / "services")
    offered = _PORTAL.format(name=_NAME, interfaces=asks, desktop=variables["XDG_CURRENT_DESKTOP"])
    (folder / "portals" / "asking.portal").write_text(offered)
    with session_bus(folder, variables | {"XDG_DESKTOP_PORTAL_DIR": str(folder / "portals")}) as address:
        yield address


def test_under_sway(tmp_path: Path) -> None:
    """Without grim in reach the portal of sway gives one image of both monitors and keeps none."""
    access = "org.freedesktop.impl.portal.Access"  # without it the portal offers no screenshots at all
    empty = tmp_path / "empty"
    empty.mkdir()
    with headless() as sway:
        variables = sway.environment() | {"XDG_CURRENT_DESKTOP": "sway"}
        pipewire = subprocess.Popen([needed("pipewire")], env=variables)  # the backend wants it running
        try:
            until((sway.folder / "pipewire-0").exists)
            sway.open()
            with (
                portals(tmp_path, variables, "impl.portal.desktop.wlr", asks=access) as address,
                Asking(address, empty, allow=False) as asking,
            ):
                shutil.copy(_BACKENDS / "wlr.portal", tmp_path / "portals")
                _start(address, "org.freedesktop.impl.portal.desktop.wlr")
                session = {"XDG_RUNTIME_DIR": str(sway.folder), "WAYLAND_DISPLAY": "wayland-1"}
                session |= {"PATH": str(empty), "DBUS_SESSION_BUS_ADDRESS": address}
                worker = Worker(tmp_path, options=f'activitywatch = "{unused_url()}"', variables=session)
                (record,) = worker.capture("--no-activity")
        finally:
            stop(pipewire)
    (shot,) = opened(record).screenshots
    assert (shot.monitor, shot.width, shot.height) == (1, 2560, 720)
    assert (worker.said, asking.questions) == ("", 0)
    assert not Path("/tmp/out.png").exists()  # where this backend puts it


def _start(address: str, name: str) -> None:
    """Start a service before it is called: xdg-desktop-portal-wlr 0.7 can miss what comes while it starts."""
    with open_dbus_connection(address) as bus:
        Proxy(message_bus, bus, timeout=20).StartServiceByName(name)


@contextmanager
def asking(folder: Path, *, allow: bool) -> Iterator[tuple[dict[str, str], Asking]]:
    """Give the variables of a session whose portal asks a question, and who answers it."""
    interfaces = "org.freedesktop.impl.portal.Access;org.freedesktop.impl.portal.Screenshot"
    variables = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "XDG_CURRENT_DESKTOP": "asking"}
    with (
        portals(folder, variables, asks=interfaces) as address,
        Asking(address, folder / "picture.png", allow=allow) as backend,
    ):
        yield {"DBUS_SESSION_BUS_ADDRESS": address}, backend


def test_asked_once_and_allowed(tmp_path: Path) -> None:
    """A question that was answered with yes is not asked again; the manual's command takes the yes back."""
    with asking(tmp_path, allow=True) as (session, backend):
        for _ in range(3):
            frame = portal.shoot(session)
            assert (frame.width, frame.height) == (256, 256)
            assert not (tmp_path / "picture.png").exists()
        _permit(session, "no")
        with pytest.raises(tools.Missing) as missing:
            portal.shoot(session)
    assert (missing.value.reason, backend.questions) == ("portal-refused", 1)


def test_asked_once_and_refused(tmp_path: Path) -> None:
    """A question that was answered with no is not asked again; the manual's command gives the yes."""
    with asking(tmp_path, allow=False) as (session, backend):
        for _ in range(3):
            with pytest.raises(tools.Missing) as missing:
                portal.shoot(session)
            assert missing.value.reason == "portal-refused"
        _permit(session, "yes")
        assert not portal.shoot(session).is_blank()
    assert backend.questions == 1


def _permit(session: dict[str, str], permission: str) -> None:
    """Set the answer as powdo-capture(1) tells."""
    store = "org.freedesktop.impl.portal.PermissionStore"
    where = ["--session", "--dest", store, "--object-path", "/org/freedesktop/impl/portal/PermissionStore"]
    words = ["screenshot", "true", "screenshot", "", f"['{permission}']"]
    command = [needed("gdbus"), "call", *where, "--method", f"{store}.SetPermission", *words]
    subprocess.run(command, check=True, env=session, capture_output=True)
