"""A screen saver on a real session bus: it owns a name and answers every call with one boolean."""

from __future__ import annotations

from collections.abc import Iterable

from jeepney import Message, new_method_return

from tests.bus import Service


class ScreenSaver(Service):
    """Owns *name* on the bus at *address*; *active* is what it answers."""

    def __init__(self, address: str, name: str, *, active: bool) -> None:
        super().__init__(address, name)
        self.active = active

    def answer(self, call: Message) -> Iterable[Message]:
        """Return the one boolean."""
        yield new_method_return(call, "b", (self.active,))
