"""`powdo event`: what users do, as signed events on stdout for `powdo publish`.

Each module makes its commands members of the group when it is imported.
"""

from __future__ import annotations

from powdo.commands.event import calendar, community, deleting, lists, rewarding, signing, telling
from powdo.commands.event.group import event

__all__ = [
    "calendar",
    "community",
    "deleting",
    "event",
    "lists",
    "rewarding",
    "signing",
    "telling",
]
