"""What a page is made of, before it is laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from powdo.adapters.page.thumbnails import Thumbnail
from powdo.worktime.days import Days
from powdo.worktime.journal import Page as JournalPage


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One screenshot; *caption* says what was in front. Without a *thumbnail* there is no image any more."""

    time: int
    monitor: int
    width: int
    height: int
    caption: str
    thumbnail: Thumbnail | None = None
    original: str | None = None  # its address beside the page
    capture: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One capture as its worker sees it: what becomes of it, what is in it, and what can be done about it."""

    id: str
    begin: int
    end: int
    word: str
    tone: str
    fate: str
    windows: Sequence[tuple[str, str, int]] = ()
    absent: Sequence[tuple[str, str]] = ()
    error: str | None = None
    commands: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One worker's part of a page; *by* is what the colours stand for.

    *cards* has a worker's own captures by id, *commands* what can be done about all of them. Without cards
    captures are evidence, in a table.
    """

    name: str
    days: Days
    by: Literal["project", "app"]
    pages: Sequence[JournalPage]
    shots: Sequence[Shot]
    left_out: int = 0  # screenshots that are not on the page
    removed: int = 0  # screenshots that are not kept any more
    lost: int = 0  # captures that never arrived
    notes: Sequence[str] = ()  # what else is to be known
    cards: Mapping[str, Card] | None = None
    commands: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: its title, the period it is about and what it is, in words; *made* is when (microseconds)."""

    title: str
    period: str
    about: str
    made: int
    people: Sequence[Person]
    full: bool = False
