"""What leaves this machine, and what does not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.worktime.activity import Bucket, BucketEvent
from powdo.worktime.privacy import (
    Privacy,
    check_depth,
    protect,
    screen_refusal,
    strip_url,
    without_surrogates,
)

IBAN = r"DE\d\d(?: ?\d{4}){4} ?\d\d"


def patterns(*texts: str) -> tuple[re.Pattern[str], ...]:
    """Return *texts* compiled as the settings do."""
    return tuple(map(re.compile, texts))


def bucket(kind: str, *events: tuple[int, int, dict[str, Any]], name: str = "aw-watcher-window_h") -> Bucket:
    """Return a bucket of *kind* with *events*."""
    return Bucket(name, kind, "c", "h", tuple(BucketEvent(*event) for event in events), "d")


def windows(*events: tuple[int, int, dict[str, Any]]) -> Bucket:
    """Return a bucket of a window watcher."""
    return bucket("currentwindow", *events)


def tabs(*events: tuple[int, int, dict[str, Any]]) -> Bucket:
    """Return a bucket of Firefox's watcher."""
    return bucket("web.tab.current", *events, name="aw-watcher-web-firefox_h")


def shown(buckets: list[Bucket]) -> list[dict[str, Any]]:
    """Return the data of all events."""
    return [dict(event.data) for item in buckets for event in item.events]


def test_redact_reaches_every_string() -> None:
    """A match is replaced in titles, URLs and nested strings, and the rest of the text stays."""
    secret = "DE89 3704 0044 0532 0130 00"
    data = {
        "title": f"Konto IBAN {secret} – Bank",
        "url": f"https://b.example/{secret}/x",
        "nested": {"list": [secret, 5, None, True]},
    }
    result = shown(protect([windows((0, 9, data))], Privacy(redact=patterns(IBAN))))
    assert result[0]["title"] == "Konto IBAN [redacted] – Bank"
    assert result[0]["nested"] == {"list": ["[redacted]", 5, None, True]}
    assert "3704" not in json.dumps(result)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://x.example/a/b?token=SECRET#frag", "https://x.example/a/b"),
        ("https://ana:SECRET@x.example/a", "https://x.example/a"),
        ("https://x.example/#/SECRET", "https://x.example/"),
        ("https://x.example/a", "https://x.example/a"),
        ("file:///home/ana/a.html?SECRET", "file:///home/ana/a.html"),
        ("about:reader?url=https%3A%2F%2FSECRET", "about:"),
        ("about:blank", "about:blank"),
        ("data:text/html,SECRET", "data:"),
        ("javascript:alert('SECRET')", "javascript:"),
        ("x.example/a?SECRET with blanks", "x.example/a"),
    ],
)
def test_urls_lose_what_may_be_secret(url: str, kept: str) -> None:
    """A URL keeps scheme, host and path."""
    assert strip_url(url) == kept
    assert shown(protect([tabs((0, 9, {"url": url}))], Privacy()))[0]["url"] == kept
    assert shown(protect([tabs((0, 9, {"url": url}))], Privacy(keep_urls=True)))[0]["url"] == url


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("https://x.example/cb?code=SECRET — Mozilla Firefox", "https://x.example/cb — Mozilla Firefox"),
        ("x.example/cb?code=SECRET — Mozilla Firefox", "x.example/cb — Mozilla Firefox"),
        ("localhost:3000/cb#SECRET", "localhost:3000/cb"),
        ("What is this? a/b testing #5", "What is this? a/b testing #5"),
        ("Pull Request #42 · globex/api", "Pull Request #42 · globex/api"),
    ],
)
def test_addresses_in_titles(title: str, kept: str) -> None:
    """An address that a browser shows as a title loses its query; ordinary titles stay as they are."""
    assert shown(protect([windows((0, 9, {"app": "x", "title": title}))], Privacy()))[0]["title"] == kept


def test_redact_that_needs_the_query() -> None:
    """A URL that a pattern knows by its query is redacted whole, though the query is cut off anyway."""
    data = {"url": "https://x.example/case/4711?client=acme"}
    result = shown(protect([tabs((0, 9, data))], Privacy(redact=patterns("case.*client=acme"))))
    assert result == [{"url": "[redacted]"}]


def test_private_drops_the_event() -> None:
    """An event with a match in any string is not there at all."""
    kept = (0, 9, {"app": "Code", "title": "work"})
    gone = (9, 12, {"app": "Code", "title": "Dr. Sommer, oncology"})
    assert shown(protect([windows(kept, gone)], Privacy(private=patterns("oncology")))) == [kept[2]]


def test_incognito_tabs() -> None:
    """Tabs marked incognito are dropped and their titles vanish from the browser's windows, no others."""
    tab = {"url": "https://secret.example/", "title": "Secret", "incognito": True}
    open_tab = {"url": "https://open.example/", "title": "Open", "incognito": False}
    result = protect(
        [
            windows(
                (0, 10, {"app": "firefox", "title": "Secret — Mozilla Firefox"}),
                (10, 20, {"app": "firefox", "title": "Open — Mozilla Firefox"}),
                (20, 30, {"app": "Code", "title": "cart.py"}),
                (30, 31, {"app": "firefox", "title": "Secret — Mozilla Firefox"}),
            ),
            tabs((0, 10, tab), (10, 29, open_tab)),
        ],
        Privacy(),
    )
    titles = [data["title"] for data in shown(result[:1])]
    assert titles == ["[redacted]", "Open — Mozilla Firefox", "cart.py", "[redacted]"]
    assert shown(result[1:]) == [open_tab]
    assert result[0].events[0].data["app"] == "firefox"


@pytest.mark.parametrize(
    "title",
    [
        "Secret — Mozilla Firefox Private Browsing",
        "Secret — Mozilla Firefox (Private Browsing)",
        "Secret - Google Chrome (Incognito)",
        "Secret – Mozilla Firefox Privater Modus",
    ],
)
def test_private_windows_without_a_watcher(title: str) -> None:
    """A window that says it browses privately loses its title and forbids a screenshot."""
    data = {"app": "browser", "title": title}
    assert shown(protect([windows((0, 1, data))], Privacy())) == [{"app": "browser", "title": "[redacted]"}]
    assert screen_refusal([("browser", "Browser", title)], Privacy()) == "private"


@pytest.mark.parametrize(
    "title", ["Incognito, a novel - Calibre", "private browsing explained - Wiki - Chrome"]
)
def test_titles_about_private_browsing(title: str) -> None:
    """A window that is only about private browsing is left alone."""
    assert screen_refusal([("app", title)], Privacy()) is None


def test_deny_hides_the_window_and_its_watcher() -> None:
    """A denied window keeps app and time; what the browser's own watcher told meanwhile is hidden too."""
    result = protect(
        [
            windows(
                (0, 10, {"app": "KeePassXC", "title": "my vault"}),
                (10, 20, {"app": "firefox", "title": "MyBank account — Mozilla Firefox"}),
                (20, 30, {"app": "firefox", "title": "Docs — Mozilla Firefox"}),
            ),
            tabs(
                (10, 19, {"url": "https://bank.example/a", "title": "account", "audible": False}),
                (20, 30, {"url": "https://docs.example/a", "title": "Docs", "audible": False}),
            ),
        ],
        Privacy(deny=patterns("keepass", "mybank")),
    )
    assert [data["title"] for data in shown(result[:1])] == [
        "[redacted]",
        "[redacted]",
        "Docs — Mozilla Firefox",
    ]
    assert [data["app"] for data in shown(result[:1])] == ["KeePassXC", "firefox", "firefox"]
    assert shown(result[1:])[0] == {"url": "[redacted]", "title": "[redacted]", "audible": False}
    assert shown(result[1:])[1]["url"] == "https://docs.example/a"


def test_presence_survives_deny() -> None:
    """The status of the AFK watcher is no text to hide."""
    afk = bucket("afkstatus", (0, 10, {"status": "not-afk"}), name="aw-watcher-afk_h")
    result = protect(
        [windows((0, 10, {"app": "KeePassXC", "title": "v"})), afk], Privacy(deny=patterns("KeePass"))
    )
    assert shown(result[1:]) == [{"status": "not-afk"}]


@pytest.mark.parametrize(
    ("windows_seen", "reason"),
    [
        ([("xterm", "KeePassXC", "vault")], "denied"),
        ([("keepassxc", "x", "vault")], "denied"),
        ([("firefox", "Firefox", "oncology - Firefox")], "private"),
        ([("firefox", "Firefox", "oncology"), ("a", "KeePassXC", "b")], "denied"),
        ([("code", "Code", "cart.py")], None),
        ([], None),
    ],
)
def test_screen_refusal(windows_seen: list[tuple[str, ...]], reason: str | None) -> None:
    """A visible denied or private window forbids the screenshot; denied is the reason told first."""
    privacy = Privacy(deny=patterns("keepassxc"), private=patterns("oncology"))
    assert screen_refusal(windows_seen, privacy) == reason


def test_titles_can_be_left_out() -> None:
    """Without keep_titles titles are empty and everything else stays."""
    data = {"app": "Code", "title": "cart.py"}
    assert shown(protect([windows((0, 1, data))], Privacy(keep_titles=False))) == [
        {"app": "Code", "title": ""}
    ]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9), st.text(), st.booleans())))
def test_only_drops_and_redacts(items: list[tuple[int, int, str, bool]]) -> None:
    """No event moves or changes its length, and without wishes none but incognito ones disappear."""
    events = [(begin, begin + length, {"title": t, "incognito": i}) for begin, length, t, i in items]
    result = protect([tabs(*events)], Privacy())[0].events
    assert [(event.begin, event.end) for event in result] == [
        (begin, end) for begin, end, data in events if not data["incognito"]
    ]


def test_absurd_depth_is_refused() -> None:
    """Data nested deeper than any watcher's is no bucket event."""
    data: dict[str, object] = {}
    for _ in range(40):
        data = {"x": [data]}
    with pytest.raises(BadRecordError):
        check_depth(data)


def test_halves_of_surrogates() -> None:
    """A half of a surrogate pair becomes U+FFFD; whole characters stay."""
    assert without_surrogates({"title": "a\ud83d b 🎹"}) == {"title": "a\ufffd b 🎹"}
