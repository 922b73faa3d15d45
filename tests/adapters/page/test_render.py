"""A page as text."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from powdo.adapters.page import Page, Person, Shot, Thumbnail, render, words
from powdo.adapters.page.drawing import Axis, colours, draw
from powdo.worktime.activity import Focus, Slice
from powdo.worktime.days import Days
from powdo.worktime.figures import by_day
from powdo.worktime.intervals import MINUTE, SECOND
from powdo.worktime.journal import Journal
from powdo.worktime.pieces import Missing, Piece, State
from powdo.worktime.timesheets import Block, Leftover

BERLIN = Days(ZoneInfo("Europe/Berlin"))
NOON = int(datetime(2026, 11, 18, 11, tzinfo=UTC).timestamp()) * SECOND


def page_of(text: str) -> Page:
    """Return a page in which every text that a stranger may have written is *text*."""
    journal = Journal(BERLIN)
    slices = [
        Slice(NOON, NOON + MINUTE, Focus(text, text)),
        Slice(NOON + MINUTE, NOON + 2 * MINUTE, Focus("a", "b")),
    ]
    journal.add_figures(by_day(slices, lambda item: text if item.focus.app == text else None, BERLIN))
    journal.add_sheet(
        [
            Block(
                begin=NOON, end=NOON + MINUTE, active=MINUTE, customer=text, project=text, activity=text,
                tags=(), billable=None, description=text, source="",
            )
        ],
        [Leftover(begin=NOON, end=NOON + MINUTE, active=MINUTE, app=text, title=text, reason="no rule")],
    )  # fmt: skip
    piece = Piece(
        id="1a2b", device="d", sequence=3, begin=NOON, end=NOON + MINUTE, state=State("checked", "good")
    )
    journal.add_pieces([piece])
    journal.add_missing(
        [Missing(NOON, NOON, "screenshots", text), Missing(NOON, NOON + MINUTE, "gap", "lost")]
    )
    journal.add_shots([NOON])
    shot = Shot(
        time=NOON,
        monitor=1,
        width=8,
        height=6,
        caption=text,
        thumbnail=Thumbnail(8, 6, "data:image/webp;base64,AA=="),
    )
    person = Person(name=text, days=BERLIN, by="project", pages=journal.pages(), shots=[shot])
    return Page(title="Working time", period="then", about="about", made=0, people=[person])


class Tags(HTMLParser):
    """Collects the start tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a start tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data


PLAIN = Tags(render(page_of("plain")))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=20)
    | st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "' onload='x",
            "{{ 7*7 }}",
            "{% raw %}",
            "</title>",
            "--><b>",
            "javascript:alert(1)",
            "&lt;",
            "\ud800",
            "\x00<b>",
        ]
    )
)
def test_no_text_becomes_markup(text: str) -> None:
    """Whatever a title says, the page has the same tags with the same attributes as with a plain one."""
    found = Tags(render(page_of(text)).encode("utf-8", "replace").decode())
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in PLAIN.tags]
    assert [set(attributes) for _, attributes in found.tags] == [
        set(attributes) for _, attributes in PLAIN.tags
    ]


def test_texts_are_shown_as_they_are() -> None:
    """An escaped title reads like the original; only what cannot be seen is marked."""
    html = render(page_of("<b>&amp; ünï</b>"))
    assert "<b>&amp; ünï</b>" in Tags(html).text
    assert "a\N{REPLACEMENT CHARACTER}fdp.exe" in Tags(render(page_of("a\u202efdp.exe"))).text


def test_the_policy_lets_in_what_stands_in_the_page_and_nothing_else() -> None:
    """The one style and the one script have the hashes that the policy names; there are no others."""
    html = render(page_of("x"))
    policy = next(
        a["content"] or "" for tag, a in Tags(html).tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"


def test_nothing_in_the_page_asks_for_anything() -> None:
    """No handler, no inline style, no frame, and no address but anchors and images that stand in it."""
    for tag, attributes in PLAIN.tags:
        assert not any(
            name.startswith("on") or name in ("style", "srcdoc", "action") for name in attributes
        ), tag
        assert tag not in ("iframe", "object", "embed", "link", "base", "form")
        for name in ("src", "href", "xlink:href", "poster", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/webp;base64,", "#")), (tag, value)
    assert "http" not in re.sub(r"http-equiv", "", render(page_of("x")))


def test_a_page_about_nobody_says_so() -> None:
    """A period in which nothing came is a page too."""
    assert "Nothing is known of this period." in render(
        Page(title="t", period="p", about="a", made=0, people=[])
    )


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), ["00", "01", "03", "04"]), (date(2026, 10, 25), ["00", "01", "02", "02", "03"])],
)
def test_the_axis_follows_the_clock_through_its_changes(day: date, hours: list[str]) -> None:
    """An hour that the clock skips is not drawn, one that it repeats is drawn twice."""
    journal = Journal(BERLIN)
    begin = BERLIN.begin(day)
    journal.add_figures(by_day([Slice(begin, begin + MINUTE, Focus("a", "b"))], lambda _: "x", BERLIN))
    (page,) = journal.pages()
    drawing = draw(page, Axis(BERLIN, [page], []), colours(["x"]), {"x": "x"}, [])
    assert [tick.text for tick in drawing.ticks][: len(hours)] == hours
    assert drawing.active[0].x == "0%"


def test_titles_have_no_bounds_but_their_places_have() -> None:
    """Of a title of a megabyte a page shows what anybody reads."""
    assert len(render(page_of("x" * 1_000_000))) < 100_000


def test_lengths_and_dates_in_words() -> None:
    """Hours and minutes, seconds below a minute, and dates as people write them."""
    assert [words.length(n * SECOND) for n in (0, 1, 59, 60, 3599, 3600, 36_300)] == [
        *("0 min", "1 s", "59 s", "1 min", "1 h 00 min", "1 h 00 min", "10 h 05 min"),
    ]
    assert words.period(date(2026, 11, 2), date(2026, 11, 30)) == "2 – 30 November 2026"
    assert words.period(date(2026, 10, 2), date(2026, 11, 3)) == "2 October 2026 – 3 November 2026"
    assert words.period(date(2026, 11, 18), date(2026, 11, 18)) == "Wednesday, 18 November 2026"
    assert words.count(1, "capture") == "1 capture"
    assert words.count(2000, "capture") == "2,000 captures"
