"""Rules to begin with: the largest time that no rule books, by what tells it apart best."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.intervals import MINUTE

#: A title that takes this part of its app's time is suggested instead of the app.
_MOST = 0.5
_LONGEST = 80


class Suggestion(NamedTuple):
    """A rule to be: the *field* and the *value* that its time has in common, and a title to remember."""

    field: str
    value: str
    active: int
    stretches: int
    sample: str

    @property
    def pattern(self) -> str:
        """Return the regular expression that the rule would ask for."""
        text = re.escape(self.value).replace("\\ ", " ").replace("\\-", "-")
        return rf"^https?://([^/]+\.)?{text}([:/]|$)" if self.field == "url" else f"^{text}$"


def _told(focus: Focus) -> tuple[str, str]:
    """Return what tells *focus* best: its editor's project, its domain, its app."""
    if focus.editor_project:
        return "editor_project", focus.editor_project
    host = _host(focus.url) if focus.url else None
    return ("url", host) if host else ("app", focus.app)


def _host(url: str) -> str | None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return host.removeprefix("www.") if host else None


def suggestions(slices: Iterable[Slice], least: int = MINUTE) -> Iterator[Suggestion]:
    """Yield what rules could book of *slices*, which none books, the longest first; nothing below *least*."""
    times: dict[tuple[str, str], Counter[str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    last: tuple[int, tuple[str, str]] | None = None
    for item in slices:
        key = _told(item.focus)
        times.setdefault(key, Counter())[item.focus.title] += item.end - item.begin
        counts[key] += last != (item.begin, key)
        last = item.end, key
    found = [_suggestion(key, titles, counts[key]) for key, titles in times.items()]
    yield from sorted(
        (item for item in found if item.active >= least and item.value),
        key=lambda item: (-item.active, item.value),
    )


def _suggestion(key: tuple[str, str], titles: Counter[str], count: int) -> Suggestion:
    field, value = key
    active = sum(titles.values())
    title, longest = max(titles.items(), key=lambda pair: (pair[1], pair[0]))
    if field == "app" and title and len(titles) > 1 and longest >= _MOST * active:
        return Suggestion("title", title, longest, count, f"in {value}")
    return Suggestion(field, value, active, count, title)


def as_toml(item: Suggestion, project: str | None = None, activity: str | None = None) -> str:
    """Return *item* as a `[[rule]]`; without a *project* it books nothing until somebody fills it in."""
    minutes = round(item.active / MINUTE)
    sample = f", such as {_comment(item.sample)}" if item.sample else ""
    lines = [
        f"# {minutes // 60} h {minutes % 60:02} min in {item.stretches} stretches{sample}",
        "[[rule]]",
        f"name = {_text(item.value)}",
        f"{item.field} = {_text(item.pattern)}",
        f"project = {_text(project)}" if project else '#project = ""',
        f"activity = {_text(activity)}" if activity else '#activity = ""',
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return f"'{clean}'" if len(clean) <= _LONGEST else f"'{clean[: _LONGEST - 1]}…'"


def _text(text: str) -> str:
    """Return *text* as a TOML string: literal where it can be, since patterns are full of backslashes."""
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    escaped = "".join(f"\\{c}" if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)
    return f'"{escaped}"'
