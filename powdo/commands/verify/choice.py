"""Which screenshots are exported: all, those of a period, or single ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from powdo.errors import ConfigurationError, UsageError
from powdo.settings.units import parse_moment
from powdo.worktime.manifest import ScreenshotFile, micros

Choice = Callable[[ScreenshotFile], bool]

#: Shorter starts of a sha256 fit too many.
_START = re.compile(r"[0-9a-f]{6,64}", re.ASCII)


def parse_choice(selectors: Sequence[str]) -> Choice:
    """Return whether a screenshot is one of those that *selectors* name. Raises: UsageError."""
    choices = [_one(selector) for selector in selectors]
    return lambda screenshot: any(choice(screenshot) for choice in choices)


def _one(selector: str) -> Choice:
    if selector == "all":
        return lambda _: True
    if _START.fullmatch(selector):
        return lambda screenshot: screenshot.sha256.startswith(selector)
    begin, dots, end = selector.partition("..")
    if not dots:
        raise UsageError(
            f"'{selector}' chooses no screenshots",
            hint="use all, a period such as 2026-11-18T09:00..2026-11-18T12:00, or the start of a sha256",
        )
    now = datetime.now().astimezone()
    try:
        first, last = (micros(parse_moment(text, now=now)) for text in (begin, end))
    except ConfigurationError as error:
        raise UsageError(f"--screenshots: {error.message}") from None
    return lambda screenshot: first <= screenshot.time < last
