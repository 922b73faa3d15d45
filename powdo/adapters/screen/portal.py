"""Screenshots by the desktop's portal (org.freedesktop.portal.Screenshot), where no tool can take them.

Rules:
- whether it may be done is between the portal and the person: it asks once and keeps the answer;
- the answer is a signal, listened for before the call; hanging up takes the call back;
- the portal leaves its picture among the person's own, so it is deleted here, and only if it can be nothing
  else: a PNG of this user's that was written after the call.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from jeepney import DBusAddress, DBusErrorResponse, HeaderFields, MatchRule, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from powdo.adapters.screen.grab import Frame, decoded
from powdo.adapters.screen.tools import Missing

#: Seconds; somebody may have to read a question and answer it.
_TIMEOUT = 60.0
_BUS_TIMEOUT = 5.0
_OBJECT = "/org/freedesktop/portal/desktop"
_SCREENSHOT = DBusAddress(_OBJECT, "org.freedesktop.portal.Desktop", "org.freedesktop.portal.Screenshot")
#: Ends of the names of D-Bus errors that say that nobody offers screenshots.
_NOBODY = ("ServiceUnknown", "NameHasNoOwner", "UnknownMethod", "UnknownInterface", "UnknownObject")
#: Seconds by which the dates of a file system may lag behind the clock.
_LAG = 1.0
_PNG = b"\x89PNG\r\n\x1a\n"


def shoot(variables: Mapping[str, str]) -> Frame:
    """Return one image of all monitors. Raises: Missing, with the reason `no-portal` where there is none."""
    asked = time.time()
    frame = decoded(_taken(_path(_uri(variables.get("DBUS_SESSION_BUS_ADDRESS", ""))), asked))
    if frame is None:
        raise Missing("portal-failed", "the portal gave no image")
    return frame


# --- the call ---


def _uri(address: str) -> str:
    """Return where the picture is that the portal on the bus at *address* takes."""
    try:
        bus = open_dbus_connection(address, auth_timeout=_BUS_TIMEOUT)
    except (OSError, ValueError, RuntimeError):
        raise _absent() from None
    with bus:
        try:
            return _answer(bus)
        except DBusErrorResponse as error:
            if error.name.endswith(_NOBODY) or ".Spawn." in error.name:
                raise _absent() from None
            raise Missing("portal-failed", f"the portal failed: {error.name}") from None
        except TimeoutError:
            seconds = f"{_TIMEOUT:.0f} seconds"
            raise Missing("portal-silent", f"nobody answered the portal within {seconds}") from None
        except OSError as error:
            raise Missing("portal-failed", f"the session bus hung up: {error.strerror}") from None


def _absent() -> Missing:
    return Missing("no-portal", "there is no screenshot portal")


def _answer(bus: DBusConnection) -> str:
    """Return the URI in the portal's answer."""
    end = time.monotonic() + _TIMEOUT
    token = f"powdo_{secrets.token_hex(16)}"
    sender = bus.unique_name.removeprefix(":").replace(".", "_")
    rule = MatchRule(
        type="signal",
        interface="org.freedesktop.portal.Request",
        member="Response",
        path=f"{_OBJECT}/request/{sender}/{token}",
    )
    options = {"interactive": ("b", False), "handle_token": ("s", token)}
    call = new_method_call(_SCREENSHOT, "Screenshot", "sa{sv}", ("", options))
    with bus.filter(rule) as answers:
        Proxy(message_bus, bus, timeout=_BUS_TIMEOUT).AddMatch(rule)
        unwrap_msg(bus.send_and_get_reply(call, timeout=_TIMEOUT))
        answer = bus.recv_until_filtered(answers, timeout=max(0.0, end - time.monotonic()))
    if answer.header.fields.get(HeaderFields.signature) != "ua{sv}":
        raise Missing("portal-failed", "the portal answers in a way it never does")
    code, results = answer.body
    if code == 1:
        raise Missing("portal-refused", "the screenshot was refused when the desktop asked")
    if code != 0:
        raise Missing("portal-refused", "the desktop does not allow screenshots, or its portal failed")
    return str(results.get("uri", ("s", ""))[1])


# --- the picture ---


def _path(uri: str) -> Path:
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    path = unquote(parts.path, errors="surrogateescape")
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "\0" in path or path[:1] != "/":
        raise Missing("portal-failed", "the portal names no file")
    return Path(path)


def _taken(path: Path, asked: float) -> bytes:
    """Return the picture in *path*, which is gone then; it was written since *asked* (unix seconds)."""
    try:
        # Neither a link to elsewhere nor a pipe without an end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
            if not ours or status.st_ctime < asked - _LAG:
                raise Missing("portal-failed", "the portal names a file that is not its new picture")
            data = file.read()
        if not data.startswith(_PNG):
            raise Missing("portal-failed", "the portal gave no image")
        path.unlink()
    except OSError as error:
        detail = f"cannot read and delete the portal's picture: {(error.strerror or '').lower()}"
        raise Missing("portal-failed", detail) from None
    return data
