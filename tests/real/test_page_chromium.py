"""A page about working time in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from powdo.commands.report import report
from tests.chromium import Tab, browser
from tests.month import HANDLER, SCRIPT, three_days

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page about three days."""
    file = tmp_path_factory.mktemp("page") / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in three_days(tmp_path_factory.mktemp("dvm")).environment.items():
            patch.setenv(name, value)
        report.main(["--html", str(file)], standalone_mode=False)
    return file


@pytest.fixture(scope="module")
def chromium() -> Iterator[Tab]:
    """Return a browser."""
    with browser() as tab:
        yield tab


@pytest.fixture
def tab(chromium: Tab, page: Path) -> Tab:
    """Return a browser that shows the page in a window as wide as a desk has."""
    chromium.look()
    chromium.open(page)
    return chromium


def test_titles_are_text_and_nothing_runs(tab: Tab) -> None:
    """Markup in a title is shown, not obeyed: no dialog comes, no element is made of it."""
    assert tab.happened("Page.javascriptDialogOpening") == []
    assert tab.run("document.scripts.length") == 1
    assert tab.run("document.querySelectorAll('img[onerror], img[src=x]').length") == 0
    text = tab.run("document.body.textContent")
    assert SCRIPT in text
    assert HANDLER in text


def test_nothing_is_asked_of_anyone(tab: Tab) -> None:
    """The browser fetches the page and what stands in it, and has nothing to complain of."""
    tab.run("scrollTo(0, document.body.scrollHeight)")
    asked = [event["request"]["url"] for event in tab.happened("Network.requestWillBeSent")]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert [event["entry"]["text"] for event in tab.happened("Log.entryAdded")] == []


@pytest.mark.parametrize(
    ("attempt", "directive"),
    [
        ("add('script', {text: 'window.ran = 1'})", "script-src"),
        ("document.body.setAttribute('onclick', 'window.ran = 1'); document.body.click()", "script-src"),
        ("document.body.setAttribute('style', 'color: red')", "style-src"),
        ("new Image().src = 'http://127.0.0.1:9/x.png'", "img-src"),
        ("fetch('http://127.0.0.1:9/').catch(() => 0)", "connect-src"),
        ("add('iframe', {src: 'http://127.0.0.1:9/'})", "frame-src"),
    ],
)  # fmt: skip
def test_the_policy_is_in_force(tab: Tab, attempt: str, directive: str) -> None:
    """What got into the page all the same could run nothing, style nothing and call nobody."""
    found = tab.run(
        "new Promise((done) => { document.addEventListener('securitypolicyviolation', "
        "(event) => done(event.effectiveDirective)); "
        "const add = (kind, how) => document.body.append(Object.assign(document.createElement(kind), how)); "
        f"{attempt}; setTimeout(() => done('none'), 20000); }})"
    )
    assert found.startswith(directive)
    assert tab.run("window.ran") is None


def test_screenshots_open_and_keys_move_between_them(tab: Tab) -> None:
    """Tab and arrows reach a screenshot, Enter opens it, arrows go on, Escape closes it where one was."""
    tab.run("document.querySelector('.shot').focus()")
    tab.press("ArrowRight")
    tab.press("Enter")
    caption = "document.getElementById('viewer-caption').textContent"
    is_open = "document.getElementById('viewer').open"
    assert tab.run(is_open) is True
    count = tab.run("document.querySelectorAll('.shot img').length")
    assert f"(2 of {count})" in tab.run(caption)
    tab.press("ArrowRight")
    assert f"(3 of {count})" in tab.run(caption)
    tab.press("End")
    tab.press("ArrowRight")
    assert f"({count} of {count})" in tab.run(caption), "there is none after the last"
    tab.press("Home")
    tab.press("ArrowLeft")
    assert f"(1 of {count})" in tab.run(caption)
    tab.press("ArrowRight")
    tab.press("Escape")
    assert tab.run(is_open) is False
    assert tab.run("Array.from(document.querySelectorAll('.shot')).indexOf(document.activeElement)") == 1


def test_each_list_of_screenshots_is_one_stop_and_focus_shows(tab: Tab) -> None:
    """Tab does not stop at every screenshot, and what has the focus has an outline."""
    lists = tab.run("document.querySelectorAll('.shots').length")
    assert tab.run("document.querySelectorAll('.shot[tabindex=\"0\"]').length") == lists
    tab.press("Tab")
    assert tab.run("document.activeElement.textContent") == "Skip to the figures"
    for _ in range(3):
        assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tab.press("Tab")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(tab: Tab, width: int) -> None:
    """On a telephone too, with everything unfolded, there is nothing to scroll sideways."""
    tab.look(width=width, height=800)
    tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")


_CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const has_text = (element) => Array.from(element.childNodes).some((n) => n.nodeType === 3 && n.data.trim());
  for (const element of document.querySelectorAll("p,dt,dd,th,td,summary,h1,h2,h3,h4,a,li,span,code")) {
    if (!element.closest("dialog") && has_text(element)) {
      const colours = [parse(getComputedStyle(element).color), ground(element)];
      const [one, other] = colours.map(light).sort((a, b) => b - a);
      const ratio = (one + 0.05) / (other + 0.05);
      if (ratio < 4.5) found.push([element.className, element.textContent.slice(0, 30), ratio]);
    }
  }
  return found;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_both_schemes(tab: Tab, scheme: str) -> None:
    """Each text has a contrast of at least 4.5 to what is behind it (WCAG 2.1, AA)."""
    tab.look(scheme=scheme)
    assert tab.run(_CONTRAST) == []
    dark = tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 28)"
    assert dark is (scheme == "dark")


def test_the_page_reads_without_eyes(tab: Tab) -> None:
    """Images have texts, tables have heads, headings skip no level, names lead to what is there."""
    assert tab.run("Array.from(document.images).filter((i) => i.id !== 'viewer-image' && !i.alt).length") == 0
    assert tab.run("Array.from(document.querySelectorAll('th')).filter((one) => !one.scope).length") == 0
    levels = tab.run(
        "Array.from(document.querySelectorAll('h1,h2,h3,h4')).map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = tab.run("Array.from(document.querySelectorAll('[id]')).map((one) => one.id)")
    assert len(set(ids)) == len(ids)
    named = tab.run(
        "Array.from(document.querySelectorAll('[aria-labelledby], a[href^=\"#\"]'))"
        ".map((one) => one.getAttribute('aria-labelledby') || one.hash.slice(1))"
    )
    assert set(named) <= set(ids)
    assert tab.run("document.documentElement.lang") == "en"


def test_paper_has_ink_on_white_and_no_buttons(tab: Tab) -> None:
    """Printed from a dark screen the page is black on white; timesheets are unfolded, nothing else is."""
    tab.look(scheme="dark", media="print")
    assert tab.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert tab.run("getComputedStyle(document.querySelector('.day')).contentVisibility") == "visible"
    assert tab.run("getComputedStyle(document.querySelector('.skip')).display") == "none"
    tab.run("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.run("document.querySelectorAll('details.printed:not([open])').length") == 0
    assert tab.run("document.querySelectorAll('details:not(.printed)[open]').length") == 0
    tab.run("window.dispatchEvent(new Event('afterprint'))")
    assert tab.run("document.querySelectorAll('details[open]').length") == 0
    assert tab.call("Page.printToPDF")["data"].startswith("JVBERi0")
