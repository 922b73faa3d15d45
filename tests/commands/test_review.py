"""powdo review: the outbox on a page."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from powdo.adapters.outbox import Outbox
from powdo.adapters.staging import Staging
from powdo.records import Capture
from powdo.worktime.flood import Bucket, BucketEvent
from powdo.worktime.intervals import MINUTE, SECOND
from powdo.worktime.manifest import from_micros
from tests.chromium import browser
from tests.month import SCRIPT, SMALL, picture

Powdo = Callable[..., CompletedProcess[bytes]]
BEGIN = int(datetime(2026, 11, 18, 9, tzinfo=UTC).timestamp()) * SECOND
SECRET = "a title that stands nowhere else"


def kept(outbox: Outbox, number: int, title: str, *, created: int = 1000) -> str:
    """Return the id of ten minutes of *title* in the outbox, with a screenshot."""
    begin = BEGIN + number * 10 * MINUTE
    end = begin + 10 * MINUTE
    name, device = f"c{number}", outbox.device("ana")
    with outbox.lock("capture"):
        folder = outbox.staging(name)
        staging = Staging(folder)
        window = BucketEvent(begin, end, {"app": "code", "title": title})
        staging.add_bucket(
            Bucket("w", "currentwindow", "w", "here", (window,), "d"), begin // SECOND, end // SECOND
        )
        there = BucketEvent(begin, end, {"status": "not-afk"})
        staging.add_bucket(
            Bucket("a", "afkstatus", "a", "here", (there,), "d"), begin // SECOND, end // SECOND
        )
        staging.add_screenshot(
            picture(number, SMALL), "png", time=begin + MINUTE, monitor=1, width=640, height=360
        )
        manifest = staging.finish(
            capture_id=name,
            device=device,
            sequence=outbox.next_sequence(device),
            timezone="Europe/Berlin",
            absent=[("activity", "paused")] if number == 1 else [],
            salt="5a" * 16,
        )
        record = Capture(
            id=name, sequence=manifest.sequence, device=device, begin=from_micros(begin),
            end=from_micros(end), path=str(outbox.capture_path(name)), screenshots=1, bucket_events=2,
        )  # fmt: skip
        outbox.add_capture(record, folder, {}, now=created)
    return name


@pytest.fixture
def outbox(powdo: Powdo, own_world: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """Return the outbox of a worker who looks at everything before it is sent: four captures, two let go."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", f"{1:064x}", "--yes").returncode == 0
    config = own_world / "powdo.toml"
    config.write_text(config.read_text().replace("[worker]", "[worker]\nreview = true", 1))
    made = Outbox(own_world / "state")
    for number, title in enumerate(("acme-shop", SCRIPT, SECRET, "gone")):
        kept(made, number, title)
    assert powdo("outbox", "release", "c0", "c2").returncode == 0
    assert powdo("bundle", "--pending").returncode == 0
    assert powdo("outbox", "drop", "c3").returncode == 0
    return made


def cards(file: Path) -> dict[str, str]:
    """Return the text of each capture on the page, tags taken out."""
    parts = re.split(r'<article class="card" id="c-(\w+)"', file.read_text())
    texts = (re.sub(r"<[^>]*>", " ", part.partition(">")[2].split("</article>")[0]) for part in parts[2::2])
    return {name: " ".join(unescape(text).split()) for name, text in zip(parts[1::2], texts, strict=True)}


def files(folder: Path) -> set[Path]:
    """Return all files below *folder*."""
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("outbox")
def test_a_worker_sees_what_is_held_and_what_goes(powdo: Powdo, tmp_path: Path) -> None:
    """Each capture has its id, what becomes of it, what it tells, and the commands that decide."""
    file = tmp_path / "review.html"
    done = powdo("review", "--html", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    found = cards(file)
    assert list(found) == ["c0", "c1", "c2", "c3"]
    assert found["c0"].startswith("10:00 – 10:10 encrypted c0 Encrypted here;")
    assert "powdo outbox drop c0" in found["c0"]
    assert "release" not in found["c0"]
    assert "held c1 Held until you release it. Let it go powdo outbox release c1" in found["c1"]
    assert SCRIPT in found["c1"]
    assert "No activity: paused by the worker" in found["c1"]
    assert SECRET in found["c2"], "what was encrypted is opened again, in memory"
    assert "withheld c3 Destroyed before it was sent." in found["c3"]
    assert "powdo" not in found["c3"]
    text = file.read_text()
    assert "powdo outbox release --all" in text
    assert "This file is not encrypted" in text
    assert text.count("<img src=") == 3


def test_nothing_in_plain_text_is_left_but_the_page(powdo: Powdo, outbox: Outbox, own_world: Path) -> None:
    """The page alone is new on the disk, for its owner only, and the outbox is as it was."""
    before, states = files(own_world), [(entry.capture.id, entry.state) for entry in outbox.entries()]
    file = own_world / "review.html"
    assert powdo("review", "--html", str(file)).returncode == 0
    after = {path for path in files(own_world) if not path.name.startswith("outbox.sqlite")}
    assert after - before == {file}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path for path in after if SECRET.encode() in path.read_bytes()] == [file]
    assert [(entry.capture.id, entry.state) for entry in outbox.entries()] == states


def test_commands_name_the_profile(powdo: Powdo, own_world: Path) -> None:
    """What a page of one profile offers is done to that profile."""
    assert (
        powdo("init", "worker", "-q", "-p", "acme", "--user", "ana", "--dvm", f"{1:064x}", "--yes").returncode
        == 0
    )
    kept(Outbox(own_world / "state" / "profiles" / "acme"), 0, "x")
    file = own_world / "review.html"
    assert powdo("review", "-p", "acme", "--html", str(file)).returncode == 0
    assert "powdo outbox drop --profile acme c0" in cards(file)["c0"]


def test_a_hold_tells_when_it_ends(powdo: Powdo, outbox: Outbox, own_world: Path) -> None:
    """Until `hold` is over a capture says when; one that nothing holds is ready."""
    config = own_world / "powdo.toml"
    config.write_text(config.read_text().replace("review = true", 'hold = "3650d"'))
    file = own_world / "review.html"
    assert powdo("review", "--html", str(file)).returncode == 0
    assert "Held until 1979-12-30 01:16; then" not in cards(file)["c1"]
    assert "Encrypted and sent with the next run." in cards(file)["c1"], (
        "1000 s after 1970 plus ten years is over"
    )
    kept(outbox, 5, "new", created=int(datetime.now(UTC).timestamp()))
    assert powdo("review", "--html", str(file)).returncode == 0
    assert re.search(r"Held until \d{4}-\d\d-\d\d \d\d:\d\d; then", cards(file)["c5"])


def test_what_was_sent_is_shown_for_a_period_only(powdo: Powdo, outbox: Outbox, own_world: Path) -> None:
    """Without a period the page is about what was not sent; with one about all of it."""
    with outbox._transaction() as db:
        db.execute("UPDATE capture SET state = 'published' WHERE id = 'c0'")
        db.execute("INSERT INTO sealed VALUES ('c0')")
    file = own_world / "review.html"
    assert powdo("review", "--html", str(file)).returncode == 0
    assert list(cards(file)) == ["c1", "c2", "c3"]
    assert powdo("review", "--html", str(file), "--since", "2026-11-18").returncode == 0
    assert "sent c0 Sent. It cannot be taken back." in cards(file)["c0"]
    assert "powdo outbox" not in cards(file)["c0"]
    assert powdo("review", "--html", str(file), "--until", "2026-11-18").returncode == 0
    assert "Nothing is known of this period." in file.read_text()


def test_a_capture_that_cannot_be_opened_is_told(powdo: Powdo, outbox: Outbox, own_world: Path) -> None:
    """A damaged capture is on the page without contents, in one warning, and the others are shown."""
    (outbox.capture_path("c1") / "buckets" / "0.jsonl").write_bytes(b"{}\n")
    outbox.bundle_path("c2").write_bytes(b"no bundle")
    file = own_world / "review.html"
    done = powdo("review", "--html", str(file))
    assert done.returncode == 0
    assert done.stderr.count(b"is left out") == 2
    found = cards(file)
    assert "It cannot be opened: " in found["c1"]
    assert "It cannot be opened: bundle 'c2' is damaged" in found["c2"]
    assert "acme-shop" in found["c0"]


@pytest.mark.usefixtures("outbox")
def test_the_page_works_in_a_browser(powdo: Powdo, tmp_path: Path) -> None:
    """Screenshots open and close by keys, nothing is too wide for a telephone, nothing is fetched."""
    file = tmp_path / "review.html"
    assert powdo("review", "--html", str(file)).returncode == 0
    with browser() as tab:
        tab.look(width=320, height=640)
        tab.open(file)
        tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        assert SCRIPT in tab.run("document.body.textContent")
        tab.run("document.querySelector('.shot').focus()")
        tab.press("Enter")
        assert tab.run("document.getElementById('viewer').open")
        tab.press("Escape")
        assert not tab.run("document.getElementById('viewer').open")
        asked = [event["request"]["url"] for event in tab.happened("Network.requestWillBeSent")]
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
        assert tab.happened("Page.javascriptDialogOpening") == []
