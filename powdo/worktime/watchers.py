"""Which window belongs to which ActivityWatch watcher: browsers by the table of aw-client, editors by name.

A watcher in a browser or an editor reports on after the window lost the focus. Where the program can be told
from the bucket's id, its word counts only while that program's window has the focus; where it cannot,
the watcher is believed.
"""

from __future__ import annotations

import re
from functools import cache

#: Browser in the bucket id → names of its window (the table of aw-client's canonical query).
_BROWSERS = {
    "chrome": (
        "Google Chrome",
        "Google-chrome",
        "chrome.exe",
        "google-chrome-stable",
        "Chromium",
        "Chromium-browser",
        "Chromium-browser-chromium",
        "chromium.exe",
        "Google-chrome-beta",
        "Google-chrome-unstable",
        "Brave-browser",
    ),
    "firefox": (
        "Firefox",
        "Firefox.exe",
        "firefox",
        "firefox.exe",
        "Firefox Developer Edition",
        "firefoxdeveloperedition",
        "Firefox-esr",
        "Firefox Beta",
        "Nightly",
        "org.mozilla.firefox",
    ),
    "opera": ("opera.exe", "Opera"),
    "brave": ("brave.exe", "Brave-browser"),
    "edge": ("msedge.exe", "Microsoft Edge", "Microsoft-edge"),
    "vivaldi": ("Vivaldi-stable", "Vivaldi-snapshot", "vivaldi.exe"),
}
_NAMES = {browser: frozenset(name.casefold() for name in names) for browser, names in _BROWSERS.items()}

#: What terminal editors run in; which tab of the terminal they are in cannot be told.
_TERMINALS = (
    r"term|alacritty|kitty|konsole|wezterm|ghostty|tilix|terminator|guake|yakuake|foot|urxvt|rxvt|^st$|"
    r"hyper|warp|iterm|mintty|powershell|cmd\.exe|tmux|ptyxis|console|contour|rio"
)
#: Editor in the bucket id → windows it lives in.
_EDITORS = {
    "vscode": r"code|codium|cursor|windsurf",
    "vim": rf"vim|neovide|{_TERMINALS}",
    "emacs": rf"emacs|{_TERMINALS}",
    "helix": rf"helix|^hx$|{_TERMINALS}",
    "kakoune": _TERMINALS,
    "sublime": r"sublime",
    "jetbrains": r"jetbrains|idea|pycharm|(web|php|android.?)st(orm|udio)|goland|clion|rider|rubymine",
    "atom": r"^atom|pulsar",
    "eclipse": r"eclipse",
    "visualstudio": r"devenv|visual studio",
    "zed": r"zed",
}


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return *pattern* compiled once it is asked for: all together they take longer than a help text."""
    return re.compile(pattern, re.IGNORECASE)


def browser_has_focus(bucket: str, app: str) -> bool:
    """Return whether a window of *app* is the browser that fills *bucket*."""
    head, _, _ = bucket.rpartition("_")
    name = (head or bucket).removeprefix("aw-watcher-web-").casefold()
    for browser, names in _NAMES.items():
        if browser in name:
            return app.casefold() in names
    return bool(name) and not name.startswith("aw-watcher-web") and name in app.casefold()


def editor_has_focus(bucket: str, app: str) -> bool:
    """Return whether a window of *app* may be the editor that fills *bucket*."""
    head, _, _ = bucket.rpartition("_")
    name = (head or bucket).casefold()
    for editor, pattern in _EDITORS.items():
        if editor in name:
            return _compiled(pattern).search(app) is not None
    return True
