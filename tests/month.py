"""Weeks of stored captures with screenshots, as an operator has them, made without being sent one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from PIL import Image, ImageDraw, ImageFont

from powdo.adapters.database import Delivery, Store, StoredEvent, stored_event
from powdo.adapters.database.workers import Author
from powdo.adapters.evidence import Evidence
from powdo.worktime.flood import BucketEvent
from powdo.worktime.intervals import SECOND
from powdo.worktime.link import Link
from powdo.worktime.manifest import Absent, BucketFile, Manifest, ScreenshotFile, manifest_root
from tests.dvm import BlobServer, Operator, operator

DEVICE = "6f1c2c1e-3d0a-4d5e-9a64-0d7f6f1b2a33"
BERLIN = ZoneInfo("Europe/Berlin")
SCRIPT = "<script>alert(1)</script>"
HANDLER = "\"'><img src=x onerror=alert(2)>"
TURNED = "Größenänderung & „Anführung“ \u202efdp.exe \ud800"
RULES = """
[[rule]]
name = "shop"
title = "acme-shop"
customer = "Acme"
project = "Shop"
activity = "Development"
description = "Shop"

[[rule]]
name = "api"
title = "globex-api"
customer = "Globex"
project = "API"
activity = "Development"

[[rule]]
name = "meeting"
app = "^zoom$"
customer = "Globex"
project = "Consulting"
activity = "Meeting"
always_active = true

[[rule]]
name = "own"
title = "powdo"
project = "powdo"
activity = "Development"
"""
_WINDOWS = (
    *(
        ("code", "checkout.py - acme-shop - Visual Studio Code"),
        ("code", "cart.py - acme-shop - Visual Studio Code"),
    ),
    *(("foot", "acme-shop: pytest -q"), ("code", "routes.go - globex-api - Visual Studio Code")),
    *(("firefox", "Pull request #212 · globex-api"), ("zoom", "Zoom Meeting")),
    *(("thunderbird", "Inbox - Thunderbird"), ("code", "README.md - powdo - Visual Studio Code")),
    *(("firefox", SCRIPT), ("firefox", TURNED), (HANDLER, HANDLER)),
)
_WEIGHTS = (9, 7, 4, 8, 4, 3, 2, 3, 1, 1, 1)
SMALL = (640, 360)
_SESSIONS = ((8.8, 12.3), (13.1, 17.6))


def picture(number: int, size: tuple[int, int] = (1920, 1080)) -> bytes:
    """Return a PNG that looks like a desktop full of text; the same *number* gives the same bytes."""
    chance = random.Random(number)
    dark = number % 3 != 0
    image = Image.new("RGB", size, "#1d2330" if dark else "#fafafa")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(6, size[1] // 72))
    draw.rectangle((0, 0, size[0], size[1] // 36), "#3a4358" if dark else "#d8dce4")
    draw.rectangle((0, size[1] // 36, size[0] // 6, size[1]), "#262d3d" if dark else "#eceef2")
    inks = (
        ("#9cc4ff", "#ffd48a", "#b6e3b0", "#e6e6e6") if dark else ("#1b4fa8", "#7a4a00", "#1d6b33", "#222222")
    )
    for line in range(2, 60):
        words = " ".join(
            "".join(chance.choices("abcdefghijklmnop_()=.", k=chance.randint(2, 11))) for _ in range(14)
        )
        left = size[0] // 6 + 20 + 24 * chance.randint(0, 4)
        draw.text((left, line * size[1] // 62), words[: chance.randint(0, 120)], chance.choice(inks), font)
    file = BytesIO()
    image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def three_days(folder: Path) -> Operator:
    """Return an operator in *folder* who has three of ana's days, but for two captures that were lost."""
    made = operator(folder, BlobServer("http://127.0.0.1:9"), RULES)
    store, evidence = made.store(), Evidence(folder / "data" / "evidence")
    work = folder / "work"
    work.mkdir()
    pictures = [picture(number, SMALL) for number in range(6)]
    Month(store, evidence, date(2026, 11, 18), 3, 15, 2, pictures, lost=frozenset({5, 6})).fill(work)
    store.close()
    evidence.close()
    return made


@dataclass
class Month:
    """Work on the *days* from *first* on that are no weekend, a capture each *tick* minutes."""

    store: Store
    evidence: Evidence
    first: date
    days: int
    tick: int = 10
    monitors: int = 1
    pictures: Sequence[bytes] = ()
    lost: frozenset[int] = frozenset()
    seed: int = 7
    sequence: int = 0
    shots: int = 0

    def fill(self, folder: Path) -> None:
        """Store everything; *folder* is worked in."""
        for number, data in enumerate(self.pictures):
            path = folder / f"{number}.png"
            path.write_bytes(data)
            self.evidence.keep(path, sha256(data).hexdigest())
        worker = self.store.named("ana")[0]
        chance = random.Random(self.seed)
        for day in range(self.days):
            at = self.first + timedelta(days=day)
            if at.weekday() < 5:
                for begin, end, events in _captures(at, self.tick, chance):
                    self._store(Author(worker.id, worker.name), begin, end, events, chance)

    def _store(
        self, author: Author, begin: int, end: int, events: Sequence[BucketEvent], chance: random.Random
    ) -> None:
        self.sequence += 1
        if self.sequence in self.lost:
            return
        locked = chance.random() < 0.04
        shots = [] if locked or not self.pictures else list(self._shots(begin, end, chance))
        self.shots += len(shots)
        texts = {
            "buckets/0.jsonl": [stored_event(event) for event in events],
            "buckets/1.jsonl": [stored_event(BucketEvent(begin, end, {"status": "not-afk"}))],
        }
        manifest = Manifest(
            id=f"c{self.sequence}",
            device=DEVICE,
            sequence=self.sequence,
            begin=begin,
            end=end,
            timezone="Europe/Berlin",
            buckets=tuple(
                _bucket(kind, file, begin, end, texts[file])
                for kind, file in zip(("currentwindow", "afkstatus"), texts, strict=True)
            ),
            screenshots=tuple(shots),
            absent=(Absent("screenshots", "locked"),) if locked else (),
            salt=f"{self.sequence:032x}",
        )
        self.store.store(_delivery(author, manifest, texts))

    def _shots(self, begin: int, end: int, chance: random.Random) -> Iterator[ScreenshotFile]:
        time = chance.randrange(begin, end)
        for monitor in range(1, self.monitors + 1):
            data = self.pictures[chance.randrange(len(self.pictures))]
            yield ScreenshotFile(
                time=time,
                monitor=monitor,
                width=1920,
                height=1080,
                file=f"screenshots/{monitor}.png",
                sha256=sha256(data).hexdigest(),
                size=len(data),
            )


def _captures(day: date, tick: int, chance: random.Random) -> Iterator[tuple[int, int, list[BucketEvent]]]:
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=BERLIN).timestamp())
    for first, last in _SESSIONS:
        at = midnight + int(3600 * (first + chance.uniform(-0.3, 0.3)))
        until = midnight + int(3600 * (last + chance.uniform(-0.4, 0.8)))
        while at < until:
            end = min(at + tick * 60, until)
            yield at * SECOND, end * SECOND, list(_events(at, end, chance))
            at = end


def _events(begin: int, end: int, chance: random.Random) -> Iterator[BucketEvent]:
    at = begin
    while at < end:
        app, title = chance.choices(_WINDOWS, _WEIGHTS)[0]
        until = min(end, at + chance.choice((15, 40, 90, 240, 600)))
        yield BucketEvent(at * SECOND, until * SECOND, {"app": app, "title": title})
        at = until


def _bucket(kind: str, file: str, begin: int, end: int, events: Sequence[StoredEvent]) -> BucketFile:
    return BucketFile(
        id=f"{kind}_desk",
        type=kind,
        client=kind,
        hostname="desk",
        device_id="d",
        begin=begin,
        end=end,
        events=len(events),
        file=file,
        sha256="00" * 32,
        size=1,
    )


def _delivery(author: Author, manifest: Manifest, texts: dict[str, list[StoredEvent]]) -> Delivery:
    data = manifest.to_bytes()
    link = Link(
        device=manifest.device,
        sequence=manifest.sequence,
        begin=manifest.begin,
        end=manifest.end,
        previous=None if manifest.sequence == 1 else "00" * 32,
        root=manifest_root(data),
    )
    name = sha256(data).hexdigest()
    return Delivery(
        worker=author,
        wrap=sha256(b"w" + data).hexdigest(),
        rumor=sha256(b"r" + data).hexdigest(),
        pubkey="02" * 32,
        sha256=name,
        ox=name,
        size=65536,
        manifest=manifest,
        manifest_text=data.decode(),
        link=link,
        link_event=None,
        wrap_event="{}",
        seal_event="{}",
        rumor_event="{}",
        bucket_events=texts,
    )
