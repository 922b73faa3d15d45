"""Whether the session is locked, asked on a real session bus with the real tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from powdo.adapters.screen.session import is_locked
from tests.bus import session_bus
from tests.parts import needed
from tests.screensaver_double import ScreenSaver

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a session bus."""
    with session_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest.mark.parametrize("tool", ["busctl", "gdbus"])
@pytest.mark.parametrize("name", ["org.freedesktop.ScreenSaver", "org.gnome.ScreenSaver"])
def test_screen_saver(bus: str, tmp_path: Path, tool: str, name: str) -> None:
    """The session is locked while the screen saver says so, whichever tool is installed."""
    (tmp_path / tool).symlink_to(needed(tool))
    variables = {"PATH": str(tmp_path), "DBUS_SESSION_BUS_ADDRESS": bus}
    assert not is_locked(variables, system_bus="/nonexistent")
    with ScreenSaver(bus, name, active=True) as saver:
        assert is_locked(variables, system_bus="/nonexistent")
        saver.active = False
        assert not is_locked(variables, system_bus="/nonexistent")
