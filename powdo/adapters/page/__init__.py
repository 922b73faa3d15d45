"""A page about working time: one HTML file that needs nothing else, for a client, an operator or the worker.

Rules:
- it asks nobody for anything: styles, script and thumbnails stand in it, and its policy (CSP) forbids more;
- every text in it may come from a stranger (titles do): all are escaped, none is markup or a style;
- what is drawn stands in words or tables beside it, so that nothing needs eyes, colours or a mouse.
"""

from __future__ import annotations

from powdo.adapters.page import words
from powdo.adapters.page.model import Card, Page, Person, Shot
from powdo.adapters.page.render import render
from powdo.adapters.page.saving import check_target, save
from powdo.adapters.page.thumbnails import MOST, Thumbnail, Thumbnails

__all__ = [
    "MOST",
    "Card",
    "Page",
    "Person",
    "Shot",
    "Thumbnail",
    "Thumbnails",
    "check_target",
    "render",
    "save",
    "words",
]
