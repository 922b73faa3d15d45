"""A desktop portal on a real session bus that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    new_error,
    new_method_return,
    new_signal,
)

from tests.bus import Service

#: The response and the URI of the picture; None when nobody ever answers; the name of an error.
Answer = tuple[int, str] | str | None

_OBJECT = "/org/freedesktop/portal/desktop"


class Portal(Service):
    """Answers each Screenshot call with what *act* returns; *calls* has their options."""

    def __init__(self, address: str, act: Callable[[], Answer]) -> None:
        super().__init__(address, "org.freedesktop.portal.Desktop")
        self._act = act
        self.calls: list[dict[str, Any]] = []

    def answer(self, call: Message) -> Iterable[Message]:
        """Answer before the call returns, as a portal that remembers does."""
        fields = call.header.fields
        interface, member = fields.get(HeaderFields.interface), fields[HeaderFields.member]
        if (interface, member) != ("org.freedesktop.portal.Screenshot", "Screenshot"):
            yield new_error(call, "org.freedesktop.DBus.Error.UnknownMethod")
            return
        parent, options = call.body
        assert parent == ""
        self.calls.append(options)
        sender = fields[HeaderFields.sender]
        handle = f"{_OBJECT}/request/{sender[1:].replace('.', '_')}/{options['handle_token'][1]}"
        result = self._act()
        if isinstance(result, str):
            yield new_error(call, result)
            return
        if result is not None:
            code, uri = result
            request = DBusAddress(handle, sender, "org.freedesktop.portal.Request")
            results = {"uri": ("s", uri)} if uri else {}
            yield new_signal(request, "Response", "ua{sv}", (code, results))
        yield new_method_return(call, "o", (handle,))
