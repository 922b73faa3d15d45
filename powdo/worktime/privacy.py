"""What is taken out of bucket events, and which windows forbid a screenshot, before anything is encrypted.

Rules, strictest first:
- `private`: a bucket event with a match in any string is dropped; a visible window with one: no screenshot;
- tabs marked incognito are dropped, and so are the titles that windows of that browser had meanwhile or
  share with such a tab; a window whose title says it browses privately counts as one without a watcher;
- `deny`: a window whose app or title matches, in whatever case, keeps its app and its time, but its title
  becomes `[redacted]`, and so does what a watcher inside that program told meanwhile; no screenshot either;
- `redact`: each match in any string of an event becomes `[redacted]`;
- URLs lose user, query and fragment, also inside titles (a browser shows the address while a page loads),
  unless *keep_urls*; without *keep_titles* titles are emptied.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from powdo.errors import BadRecordError
from powdo.worktime.flood import REDACTED, Bucket, BucketEvent
from powdo.worktime.intervals import Interval, union
from powdo.worktime.watchers import browser_has_focus, editor_has_focus

_WINDOW, _WEB, _EDITOR = "currentwindow", "web.tab.current", "app.editor.activity"
_DEEPEST = 32

#: How browsers end the title of a private window; Chromium's is translated, Firefox's too.
_PRIVATE_WINDOW = re.compile(
    r"(?:[(\[]|[-—–] |\b(?:firefox|librewolf|browser)(?: developer edition| nightly)? )"
    r"(?:private browsing|incognito|inprivate|privater modus|privates fenster|inkognito(?:-?modus)?|"
    r"navigation privée|navegación privada|navigazione anonima|modo incógnito|incógnito)[)\]]?$",
    re.IGNORECASE,
)
#: A URL with a scheme, or a host with a path: its head up to what is cut, with the user part set apart.
_URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/?#@]*@)?(?P<path>[^\s?#]*)(?:[?#]\S*)?"
    r"|(?P<bare>\b(?:[\w-]+(?:\.[\w-]+)+|localhost)(?::\d+)?/[^\s?#]*)[?#]\S*",
    re.IGNORECASE,
)
#: URLs that are their own content; only the scheme says nothing.
_OPAQUE = re.compile(r"(?i)(data|javascript|blob|about|mailto|view-source|wyciwyg):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """The worker's wishes, as [capture] has them."""

    redact: tuple[re.Pattern[str], ...] = ()
    deny: tuple[re.Pattern[str], ...] = ()
    private: tuple[re.Pattern[str], ...] = ()
    keep_urls: bool = False
    keep_titles: bool = True

    def __post_init__(self) -> None:
        # One program calls itself KeePassXC here and keepassxc there.
        deny = tuple(re.compile(item.pattern, item.flags | re.IGNORECASE) for item in self.deny)
        object.__setattr__(self, "deny", deny)


def screen_refusal(windows: Iterable[Sequence[str]], privacy: Privacy) -> str | None:
    """Return why no screenshot may be taken of *windows*, each the names and the title of one; or None."""
    reason = None
    for texts in windows:
        if _matches(privacy.deny, texts):
            return "denied"
        if _matches(privacy.private, texts) or any(map(_PRIVATE_WINDOW.search, texts)):
            reason = "private"
    return reason


def protect(buckets: Sequence[Bucket], privacy: Privacy) -> list[Bucket]:
    """Return *buckets* as they may leave this machine."""
    incognito = [_Incognito(bucket) for bucket in buckets if bucket.type == _WEB]
    denied = _denied(buckets, privacy)
    clean = _Cleaner(privacy)
    result = []
    for bucket in buckets:
        hides = _hides(bucket, privacy, incognito, denied)
        events = []
        for event in bucket.events:
            if _is_incognito(event) or _matches(privacy.private, _strings(event.data)):
                continue
            data = _hidden(event.data) if hides(event) else clean.data(event.data)
            events.append(BucketEvent(event.begin, event.end, data))
        result.append(replace(bucket, events=tuple(events)))
    return result


# --- strings -------------------------------------------------------------------------------------


def _matches(patterns: Sequence[re.Pattern[str]], texts: Iterable[str]) -> bool:
    return bool(patterns) and any(pattern.search(text) for text in texts for pattern in patterns)


def _strings(value: object, depth: int = 0) -> Iterator[str]:
    """Yield every string in *value*. Raises: BadRecordError when it is nested absurdly deep."""
    if depth > _DEEPEST:
        raise BadRecordError("bucket event nested too deeply")
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item, depth + 1)


def check_depth(data: Mapping[str, object]) -> None:
    """Raise BadRecordError when *data* is nested deeper than any watcher's."""
    for _ in _strings(data):
        continue


def _mapped(value: Any, change: Callable[[str, str], str], key: str = "") -> Any:
    """Return *value* with each string replaced by change(key, string)."""
    if isinstance(value, str):
        return change(key, value)
    if isinstance(value, Mapping):
        return {name: _mapped(item, change, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change, key) for item in value]
    return value


def without_surrogates(data: Mapping[str, object]) -> Mapping[str, object]:
    """Return *data* with halves of surrogate pairs, which UTF-8 cannot hold, replaced by U+FFFD."""

    def mend(_key: str, text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return dict(_mapped(data, mend))


def _hidden(data: Mapping[str, object]) -> Mapping[str, object]:
    """Return *data* with every string but the app's name and ActivityWatch's status redacted."""
    return dict(_mapped(data, lambda key, text: text if key in ("app", "status") else REDACTED))


def strip_url(text: str) -> str:
    """Return the URL *text* without user, query and fragment."""
    opaque = _OPAQUE.match(text)
    if opaque:
        return text if opaque[1].lower() == "about" and "?" not in text else opaque[0]
    return _strip_urls(re.split(r"[?#]", text, maxsplit=1)[0])


def _strip_urls(text: str) -> str:
    if "/" not in text:
        return text
    return _URL.sub(lambda match: match["bare"] or match["scheme"] + match["path"], text)


class _Cleaner:
    """Applies `redact`, keep_urls and keep_titles to the strings of an event."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy

    def data(self, data: Mapping[str, object]) -> Mapping[str, object]:
        return dict(_mapped(data, self._string))

    def _string(self, key: str, text: str) -> str:
        privacy = self._privacy
        if key == "title" and not privacy.keep_titles:
            return ""
        kept = text
        if not privacy.keep_urls:
            kept = strip_url(text) if key.lower() == "url" else _strip_urls(text)
        for pattern in privacy.redact:
            # A match that needs what was just cut off would otherwise leave its other half.
            if kept != text and pattern.search(text) and not pattern.search(kept):
                return REDACTED
        for pattern in privacy.redact:
            kept = pattern.sub(REDACTED, kept)
        return kept


# --- windows and the watchers inside them --------------------------------------------------------


class _Spans:
    """A set of times that says whether an event falls into it."""

    def __init__(self, events: Iterable[BucketEvent]) -> None:
        self._spans = union(Interval(event.begin, max(event.end, event.begin + 1)) for event in events)
        self._begins = [span.begin for span in self._spans]

    def touches(self, event: BucketEvent) -> bool:
        last = bisect_right(self._begins, max(event.end - 1, event.begin)) - 1
        return last >= 0 and self._spans[last].end > event.begin


def _is_incognito(event: BucketEvent) -> bool:
    return event.data.get("incognito") not in (None, False, 0, "", "false")


class _Incognito:
    """When the browser of one bucket showed incognito tabs, and their titles."""

    def __init__(self, bucket: Bucket) -> None:
        events = [event for event in bucket.events if _is_incognito(event)]
        self._bucket = bucket.id
        self._spans = _Spans(events)
        titles = {title for event in events if (title := str(event.data.get("title", "")))}
        # A browser appends its name to the tab's title; so "Google" does not stand for "Google Chrome".
        self._heads = tuple(title + mark for title in titles for mark in (" -", " —", " –"))

    def covers(self, event: BucketEvent, app: str, title: str) -> bool:
        if not browser_has_focus(self._bucket, app):
            return False
        return self._spans.touches(event) or title.startswith(self._heads)


def _texts(event: BucketEvent) -> tuple[str, str]:
    """Return the app and the title of a window's event."""
    return str(event.data.get("app") or ""), str(event.data.get("title") or "")


def _denied(buckets: Sequence[Bucket], privacy: Privacy) -> dict[str, _Spans]:
    """Return app → when a denied window of it had the focus."""
    found: dict[str, list[BucketEvent]] = {}
    for bucket in buckets:
        if bucket.type != _WINDOW or not privacy.deny:
            continue
        for event in bucket.events:
            if _matches(privacy.deny, _texts(event)):
                found.setdefault(_texts(event)[0], []).append(event)
    return {app: _Spans(events) for app, events in found.items()}


def _hides(
    bucket: Bucket, privacy: Privacy, incognito: Sequence[_Incognito], denied: Mapping[str, _Spans]
) -> Callable[[BucketEvent], bool]:
    """Return whether an event of *bucket* must lose all its texts."""
    if bucket.type == _WINDOW:

        def hides_window(event: BucketEvent) -> bool:
            app, title = _texts(event)
            return (
                _matches(privacy.deny, (app, title))
                or _PRIVATE_WINDOW.search(title) is not None
                or any(tabs.covers(event, app, title) for tabs in incognito)
            )

        return hides_window
    focused = {_WEB: browser_has_focus, _EDITOR: editor_has_focus}.get(bucket.type)
    if focused is None:
        return lambda _event: False
    spans = [times for app, times in denied.items() if focused(bucket.id, app)]
    return lambda event: any(times.touches(event) for times in spans)
