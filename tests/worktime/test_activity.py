"""`powdo.worktime.activity`: who is present, what window counts, and the totals of a real week."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.worktime.activity import (
    Bucket,
    BucketEvent,
    Focus,
    Slice,
    active,
    flood,
    kinds_needed,
    parse_bucket_event,
)
from powdo.worktime.intervals import SECOND
from powdo.worktime.watchers import browser_has_focus, editor_has_focus

_WEEK = Path(__file__).parent.parent / "data" / "activitywatch-week.json.gz"

#: Seconds by app that flood(window) within flood(afk)[not-afk] gave for that week on a running aw-server
#: 0.12.0 with aw-core 0.5.18 and peewee 3.19, the events imported over its API.
_TOTALS = {
    "Code": 40430.681063,
    "firefox": 35634.173101,
    "Alacritty": 27883.327265,
    "Slack": 9227.273,
    "zoom": 6000.348,
    "thunderbird": 4865.472,
    "": 1511.139,
    "loginwindow": 0.002,
}


def _bucket(
    kind: str, *events: tuple[float, float, dict[str, object]], name: str = "", device: str = ""
) -> Bucket:
    types = {
        "window": "currentwindow",
        "afk": "afkstatus",
        "web": "web.tab.current",
        "vim": "app.editor.activity",
    }
    names = {"window": "window", "afk": "afk", "web": "web-firefox", "vim": "vscode"}
    made = tuple(BucketEvent(round(a * SECOND), round(b * SECOND), data) for a, b, data in events)
    return Bucket(name or f"aw-watcher-{names[kind]}_box", types[kind], "test", "box", made, device)


def _here(begin: float, end: float) -> Bucket:
    return _bucket("afk", (begin, end, {"status": "not-afk"}))


def _seen(slices: list[Slice]) -> list[tuple[float, float, str]]:
    return [(item.begin / SECOND, item.end / SECOND, item.focus.app) for item in slices]


_FOX: dict[str, object] = {"app": "firefox", "title": "t"}
_CODE: dict[str, object] = {"app": "Code", "title": "t"}


def test_totals_of_a_week_equal_the_servers() -> None:
    """Active seconds by app are those of aw-server's canonical query, within a second a week."""
    buckets = json.loads(gzip.decompress(_WEEK.read_bytes()))["buckets"]
    slices = active(
        [
            Bucket(
                one["id"],
                one["type"],
                one["client"],
                one["hostname"],
                tuple(map(parse_bucket_event, one["events"])),
            )
            for one in buckets.values()
        ]
    )
    totals: Counter[str] = Counter()
    for item in slices:
        totals[item.focus.app] += item.end - item.begin
    assert set(totals) == set(_TOTALS)
    for app, seconds in _TOTALS.items():
        assert totals[app] / SECOND == pytest.approx(seconds, abs=1), app
    assert all(one.end <= other.begin for one, other in pairwise(slices))


def test_only_not_afk_counts() -> None:
    """Time counts while `not-afk` is said, and not where nothing is said."""
    window = _bucket("window", (0, 100, _CODE))
    away = _bucket("afk", (0, 30, {"status": "not-afk"}), (30, 60, {"status": "afk"}))
    assert _seen(active([window, away])) == [(0, 30, "Code")]
    assert active([window]) == []


def test_a_tab_that_plays_is_no_presence() -> None:
    """A video that plays on while nobody types does not count."""
    windows = _bucket("window", (0, 60, _FOX))
    web = _bucket("web", (0, 60, {"url": "https://video.example/", "title": "v", "audible": True}))
    assert active([windows, web, _here(0, 20)])[-1].end == 20 * SECOND


def test_what_is_called_present_counts() -> None:
    """A meeting counts though nobody types."""
    windows = _bucket("window", (0, 60, {"app": "zoom", "title": "Meeting"}), (60, 100, _CODE))
    found = active([windows, _here(90, 100)], lambda item: item.focus.app == "zoom")
    assert _seen(found) == [(0, 60, "zoom"), (90, 100, "Code")]


def test_a_url_counts_only_in_its_browser() -> None:
    """The tab of a browser in the background is not what somebody works on."""
    windows = _bucket("window", (0, 50, _FOX), (50, 100, _CODE))
    web = _bucket("web", (10, 90, {"url": "https://a.example/", "title": "a"}))
    found = active([windows, web, _here(0, 100)])
    assert [(item.begin / SECOND, item.focus.url) for item in found] == [
        (0, None),
        (10, "https://a.example/"),
        (50, None),
    ]


def test_an_editor_counts_only_in_its_window() -> None:
    """A file open in an editor in the background is not what somebody works on."""
    windows = _bucket("window", (0, 50, _CODE), (50, 100, _FOX))
    editor = _bucket("vim", (0, 100, {"project": "/p", "file": "/p/f", "branch": "main"}))
    found = active([windows, editor, _here(0, 100)])
    assert [(item.focus.app, item.focus.editor_project, item.focus.branch) for item in found] == [
        ("Code", "/p", "main"),
        ("firefox", None, None),
    ]


def test_two_devices_at_once_count_once() -> None:
    """Of two machines used at once, the one that says more about the work counts."""
    one = [
        _bucket("window", (0, 60, _FOX), device="one"),
        _bucket("afk", (0, 60, {"status": "not-afk"}), device="one"),
    ]
    other = [
        _bucket("window", (30, 90, _CODE), device="two"),
        _bucket("afk", (30, 90, {"status": "not-afk"}), device="two"),
        _bucket("vim", (30, 90, {"project": "/p", "file": "/p/f"}), device="two"),
    ]
    assert _seen(active([*one, *other])) == [(0, 30, "firefox"), (30, 90, "Code")]


def test_presence_on_one_device_says_nothing_of_another() -> None:
    """A window left open on a machine nobody sits at does not count."""
    window = _bucket("window", (0, 60, _FOX), device="one")
    afk = _bucket("afk", (0, 60, {"status": "not-afk"}), device="two")
    assert active([window, afk]) == []


def test_data_of_a_stranger_shape_is_survived() -> None:
    """Fields of the wrong kind, lists inside, and unknown buckets are no reason to stop."""
    windows = _bucket(
        "window", (0, 10, {"app": 5, "title": ["x"]}), (10, 20, {"app": "Code", "extra": {"a": [1]}})
    )
    other = Bucket("x", "os.lid", "t", "box", ())
    assert _seen(active([windows, other, _here(0, 20)])) == [(0, 10, ""), (10, 20, "Code")]


def test_which_window_is_whose() -> None:
    """Browsers go by their table, other names by the bucket's; editors by theirs, unknown ones anywhere."""
    assert browser_has_focus("aw-watcher-web-chrome_box", "Chromium")
    assert browser_has_focus("aw-watcher-web-firefox", "firefox")
    assert not browser_has_focus("aw-watcher-web-chrome_box", "firefox")
    assert browser_has_focus("aw-watcher-web-librewolf_box", "LibreWolf")
    assert editor_has_focus("aw-watcher-vscode_box", "VSCodium")
    assert editor_has_focus("aw-watcher-vim_box", "Alacritty")
    assert not editor_has_focus("aw-watcher-vim_box", "firefox")
    assert editor_has_focus("aw-watcher-whatever_box", "firefox")


# --- the definition: what was in focus, asked for each instant by itself ------------------------------

_SECONDS = 60


def _stream(*data: dict[str, object]) -> st.SearchStrategy[list[tuple[float, float, dict[str, object]]]]:
    """Return events of *data* in whole seconds."""
    event = st.tuples(st.integers(0, _SECONDS), st.integers(0, 20), st.sampled_from(data))
    return st.lists(event.map(lambda item: (item[0], item[0] + item[1], item[2])), max_size=8)


_windows = _stream(_FOX, _CODE, {"app": "zoom", "title": "m"})
_states = _stream({"status": "not-afk"}, {"status": "afk"})
_tabs = _stream({"url": "https://a.example/"}, {"url": "https://b.example/"}, {"title": "no url"})
_files = _stream({"project": "/p", "file": "/p/f", "branch": "main"}, {"file": "/q"}, {})


def _at(bucket: Bucket, instant: int) -> dict[str, Any] | None:
    return next((dict(e.data) for e in flood(bucket.events) if e.begin <= instant < e.end), None)


def _seen_at(buckets: list[Bucket], present: str, instant: int) -> Focus | None:
    """Return what was in focus at *instant*, or None where nobody was there."""
    windows, states, tabs, files = (_at(bucket, instant) for bucket in buckets)
    if windows is None or (states != {"status": "not-afk"} and windows["app"] != present):
        return None
    url = (tabs or {}).get("url") if windows["app"] == "firefox" else None
    work = (files or {}) if windows["app"] == "Code" else {}
    return Focus(
        windows["app"], windows["title"], url, work.get("project"), work.get("file"), work.get("branch")
    )


@settings(max_examples=200, deadline=None)
@given(_windows, _states, _tabs, _files, st.sampled_from(["zoom", ""]))
def test_each_instant_is_as_defined(windows: Any, states: Any, tabs: Any, files: Any, present: str) -> None:
    """Whatever the watchers say, each instant is in the slice of what was in focus, or in none."""
    kinds = {"window": windows, "afk": states, "web": tabs, "vim": files}
    buckets = [_bucket(kind, *events) for kind, events in kinds.items()]
    slices = active(buckets, (lambda item: item.focus.app == present) if present else None)
    assert all(item.begin < item.end for item in slices)
    assert all(one.end <= other.begin for one, other in pairwise(slices))
    for instant in range(0, (_SECONDS + 25) * SECOND, SECOND // 4):
        found = next((item.focus for item in slices if item.begin <= instant < item.end), None)
        assert found == _seen_at(buckets, present, instant)


@settings(max_examples=100, deadline=None)
@given(_windows, _windows, _states, _tabs, st.booleans(), st.sampled_from([(), ("url",), ("branch", "app")]))
def test_buckets_that_are_not_needed_change_nothing(
    one: Any, other: Any, states: Any, tabs: Any, several: bool, asked: tuple[str, ...]
) -> None:
    """Without the kinds of buckets that nobody asked about, the fields asked for are as long as with all."""
    buckets = [_bucket("window", *one), _bucket("afk", *states), _bucket("web", *tabs)]
    if several:
        buckets.append(_bucket("window", *other, name="aw-watcher-window_second"))
    needed = kinds_needed([bucket.type for bucket in buckets], asked)
    totals: list[Counter[Any]] = []
    for chosen in (buckets, [bucket for bucket in buckets if bucket.type in needed]):
        counted: Counter[Any] = Counter()
        for begin, end, focus in active(chosen):
            counted[focus.app, *(getattr(focus, name) for name in asked)] += end - begin
        totals.append(counted)
    assert totals[0] == totals[1]
    assert several or ("web.tab.current" in needed) == ("url" in asked)
