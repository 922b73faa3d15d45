"""From a page's parts to its HTML: what templates are given, and the policy a browser shows it under."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from powdo import __version__
from powdo.adapters.page import drawing, words
from powdo.adapters.page.model import Page, Person, Shot
from powdo.worktime.figures import Label, ranked_labels
from powdo.worktime.journal import Page as Day
from powdo.worktime.pieces import counted

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = "templates"
_UNBOOKED = {"project": "unassigned", "app": "unknown window"}
#: What would turn the text around it, or is none: a title must not look like another.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def render(page: Page) -> str:
    """Return *page* as one HTML document that loads nothing from anywhere."""
    style, script = _part("style.css"), _part("page.js")
    images = "data: 'self' file:" if page.full else "data:"
    policy = (
        f"default-src 'none'; img-src {images}; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template("page.html")
    people = [_Sheet(person, number) for number, person in enumerate(page.people, 1)]
    return template.render(
        page=page, people=people, style=style, script=script, policy=policy, version=__version__, words=words
    )


@cache
def _part(name: str) -> str:
    """Return the text of a template's file."""
    return (resources.files(__package__) / _FOLDER / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["time"] = words.length
    environment.filters["short"] = words.short
    return environment


def _plain(value: object) -> object:
    """Return *value* as it may stand in a page, before it is escaped."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value)
    return value


class _Sheet:
    """One person's part, as the templates ask for it."""

    def __init__(self, person: Person, number: int) -> None:
        self.person = person
        self.number = number
        self.pages = person.pages
        figures = [page.figures for page in person.pages if page.figures]
        self.labels = ranked_labels(figures)
        self.active = sum(day.active for day in figures)
        self.stated = sum(day.stated for day in figures)
        self.all = self.active + self.stated
        self.booked = sum(page.booked for page in person.pages)
        self.unassigned = sum(length for label, length in self.labels if label is None)
        self.styles = drawing.colours(label for label, _ in self.labels)
        self.names = {label: self._name(label) for label, _ in self.labels}
        self._axis = drawing.Axis(person.days, person.pages, (shot.time for shot in person.shots))
        self._longest = max((day.active + day.stated for day in figures), default=0)
        self._own: dict[str, list[Shot]] = {}
        for shot in person.shots:
            self._own.setdefault(shot.capture or "", []).append(shot)
        pieces = [piece for page in person.pages for piece in page.pieces]
        self.captures = len(pieces)
        self.states = counted(pieces)
        self.devices = len({piece.device for piece in pieces})

    def _name(self, label: Label) -> str:
        return _UNBOOKED[self.person.by] if label is None else words.short(label)

    @property
    def worked(self) -> int:
        """Return on how many days there was any time."""
        return sum(page.active + page.stated > 0 for page in self.pages)

    @property
    def period(self) -> str:
        """Return the days from the first to the last one."""
        if not self.pages:
            return "nothing in this period"
        return words.period(self.pages[0].day, self.pages[-1].day)

    @property
    def zone(self) -> str:
        """Return the name of the zone in which times are told."""
        return str(self.person.days.zone)

    def share(self, length: int) -> str:
        """Return how much of all time *length* is, in percent."""
        return f"{100 * length / max(1, self.all):.0f} %"

    def width(self, length: int) -> str:
        """Return how wide a bar for *length* is among the labels."""
        return drawing.percent(length / max(1, max((most for _, most in self.labels), default=1)))

    def bars(self, day: Day) -> list[drawing.Bar]:
        """Return the stacked bar of *day*."""
        return drawing.stacked(day.figures, [label for label, _ in self.labels], self.styles, self._longest)

    def drawing(self, day: Day) -> drawing.Drawing:
        """Return the timeline of *day*."""
        times = (self.person.shots[place].time for place in day.shots)
        return drawing.draw(day, self._axis, self.styles, self.names, times)

    def spent(self, day: Day) -> list[tuple[Label, int]]:
        """Return what *day* went to, the longest first."""
        return ranked_labels([day.figures]) if day.figures else []

    def summary(self, day: Day) -> str:
        """Return the timeline of *day* in a sentence."""
        if day.figures is None or not day.figures.stretches:
            return "No active time."
        first, last = day.figures.stretches[0].begin, day.figures.stretches[-1].end
        parts = ", ".join(f"{self.names[label]} {words.length(length)}" for label, length in self.spent(day))
        return f"From {self.clock(first)} to {self.clock(last)}: {parts}."

    def clock(self, at: int) -> str:
        """Return what this person's clock shows at *at*."""
        return words.clock(self.person.days, at)

    def missing(self, day: Day) -> Iterator[tuple[str, str, str]]:
        """Yield what is missing on *day*: from when to when, the style of its kind, and in words."""
        for item in sorted(day.missing):
            yield f"{self.clock(item.begin)} – {self.clock(item.end)}", item.what, drawing.told_missing(item)

    def unbooked(self, day: Day) -> int:
        """Return the active time of *day* in no block."""
        return sum(item.active for item in day.leftovers)

    def shots(self, day: Day) -> Iterator[Shot]:
        """Yield the screenshots of *day* with their places among all."""
        for place in day.shots:
            yield self.person.shots[place]

    def shots_of(self, capture: str) -> list[Shot]:
        """Return the screenshots of one *capture*."""
        return self._own.get(capture, [])

    def moment(self, at: int) -> str:
        """Return date and time of *at*."""
        return f"{words.short_date(self.person.days.day(at))}, {self.clock(at)}"
