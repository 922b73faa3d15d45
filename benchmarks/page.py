"""A page about a month with two thousand screenshots: how long it takes to make, and to open in Chromium.

Its month is 22 days, a capture each ten minutes, two monitors; every screenshot is 1920 x 1080 and another.
The time to open is wall time, from being sent there until the browser has loaded the page and painted it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from datetime import date
from io import BytesIO
from pathlib import Path

from measure import child, stage, write
from PIL import Image, ImageDraw

from powdo.adapters.evidence import Evidence
from tests.chromium import Tab, browser
from tests.dvm import BlobServer, operator
from tests.month import RULES, Month, picture

GOAL = 3.0
_DAYS, _TICK, _MONITORS = 30, 10, 2
_PICTURES, _LOOKS = 2200, 40
_PAINTED = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0)))"


def _pictures() -> list[bytes]:
    """Return screenshots of which no two are alike: some looks, each with a stripe of its own."""
    looks = [Image.open(BytesIO(picture(number))) for number in range(_LOOKS)]
    result = []
    for number in range(_PICTURES):
        image = looks[number % _LOOKS].copy()
        ImageDraw.Draw(image).rectangle(
            (400, 40 + number % 900, 400 + number % 1400, 60 + number % 900), number % 256
        )
        file = BytesIO()
        image.save(file, "PNG", compress_level=1)
        result.append(file.getvalue())
    return result


def _opened(tab: Tab, page: Path, width: int) -> float:
    """Return the seconds until *page* is loaded and painted in a window so wide."""
    tab.call("Page.navigate", url="about:blank")
    tab.wait("Page.loadEventFired")
    tab.look(width=width)
    begin = time.perf_counter()
    tab.open(page)
    tab.run(_PAINTED)
    return time.perf_counter() - begin


def main() -> None:
    """Make the month, the page, and open it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = operator(folder, BlobServer("http://127.0.0.1:9"), RULES)
        store, evidence = made.store(), Evidence(folder / "data" / "evidence")
        work = folder / "work"
        work.mkdir()
        month = Month(store, evidence, date(2026, 11, 2), _DAYS, _TICK, _MONITORS, _pictures())
        month.fill(work)
        store.close()
        evidence.close()
        page = folder / "page.html"
        spent = child(stage("report", "--html", str(page)), os.environ | made.environment)
        size = page.stat().st_size / 1e6
        write(f"{month.shots} screenshots, a page of {size:.1f} MB, made in {spent:.1f} s CPU")
        with browser() as tab:
            for width in (1280, 390):
                taken = [_opened(tab, page, width) for _ in range(7)]
                told = f"first {taken[0]:.2f} s, median {statistics.median(taken):.2f} s"
                met = "met" if taken[0] < GOAL else "MISSED"
                write(f"opened at {width} pixels: {told}   goal < {GOAL:g} s  {met}")


if __name__ == "__main__":
    main()
