"""`powdo report --html`: where the page goes, and what is refused."""

from __future__ import annotations

import html
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from powdo.commands.report import report
from powdo.errors import CannotCreateError, UsageError
from powdo.lines import encode_line
from tests.bundles import listing
from tests.chromium import browser
from tests.dvm import Operator
from tests.month import DEVICE, SMALL, picture, three_days


@pytest.fixture(scope="module")
def dvm(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Return an operator who has three of ana's days."""
    return three_days(tmp_path_factory.mktemp("dvm"))


@pytest.fixture
def environment(dvm: Operator, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Be that operator."""
    for name, value in dvm.environment.items():
        monkeypatch.setenv(name, value)
    return dvm


def written(file: Path, *flags: str) -> Path:
    """Return *file* with the page that `powdo report` writes."""
    report.main(["--html", str(file), *flags], standalone_mode=False)
    return file


@pytest.mark.usefixtures("environment")
def test_only_its_owner_can_read_the_page(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The page is 0600, takes the place of an older one, and says nothing on success."""
    file = tmp_path / "page.html"
    file.write_text("old")
    file.chmod(0o644)
    written(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert listing(tmp_path) == ["page.html"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "counted by nothing"),
        (("--html", "x", "--by", "day"), "figures of its own"),
        (("--html", "x", "--json"), "figures of its own"),
        (("--by", "day", "--full"), "--full and --verified make no sense"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags: tuple[str, ...], told: str) -> None:
    """A page is no table: flags of the one are refused with the other."""
    with pytest.raises(UsageError, match=told):
        report.main([*flags], standalone_mode=False)


@pytest.mark.usefixtures("environment")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """A device, a folder, a pipe and a place that is not there are refused, and nothing changes."""
    os.mkfifo(tmp_path / "pipe")
    for target in ("/dev/full", str(tmp_path), str(tmp_path / "pipe"), str(tmp_path / "none" / "page.html")):
        with pytest.raises(CannotCreateError):
            written(Path(target))
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    assert listing(tmp_path) == ["pipe"]


@pytest.mark.usefixtures("environment")
def test_an_empty_period_is_a_page_too(tmp_path: Path) -> None:
    """A page about a period in which nothing came says so."""
    assert "Nothing is known of this period." in written(tmp_path / "page.html", "--last", "1h").read_text()


def test_screenshots_that_are_gone_are_told(
    environment: Operator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A screenshot that is missing or damaged has its place on the page, and one line tells it."""
    store = environment.store()
    (first, second), *_ = [store.shots(1, 0, 1 << 62)[:2]]
    store.close()
    folder = environment.folder / "data" / "evidence"
    gone, damaged = ((folder / one.sha256[:2] / one.sha256) for one in (first, second))
    whole = gone.read_bytes(), damaged.read_bytes()
    try:
        gone.unlink()
        damaged.write_bytes(b"x")
        text = written(tmp_path / "page.html").read_text()
    finally:
        gone.write_bytes(whole[0])
        damaged.write_bytes(whole[1])
    assert "not kept any more, or no image" in text
    assert text.count("<img ") > 50
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "screenshots cannot be shown: " in lines[0]


@pytest.mark.usefixtures("environment")
def test_full_screenshots_lie_beside_the_page(tmp_path: Path) -> None:
    """With --full a screenshot opens as it was taken, from a private folder beside the page."""
    file = written(tmp_path / "a page #1.html", "--full")
    beside = tmp_path / "a page #1-screenshots"
    assert stat.S_IMODE(beside.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in beside.iterdir()} == {0o600}
    assert {path.read_bytes() for path in beside.iterdir()} <= {picture(n, SMALL) for n in range(6)}
    with browser() as tab:
        tab.open(file)
        tab.run("document.querySelector('a.shot').click()")
        address = tab.run(
            "new Promise((done) => { const image = document.getElementById('viewer-image');"
            " const look = () => (image.src.startsWith('file:') && image.complete && image.naturalWidth"
            " ? done(image.src) : setTimeout(look, 20)); look(); })"
        )
        assert address.startswith(beside.as_uri())
        assert [event["entry"]["text"] for event in tab.happened("Log.entryAdded")] == []


def _verdict(sequence: int, **more: object) -> bytes:
    """Return what `verify` says of ana's capture *sequence*."""
    record = {
        "type": "verified", "v": 1, "npub": "npub1", "device": DEVICE, "sequence": sequence,
        "begin": "2026-11-18T08:00:00Z", "end": "2026-11-18T08:15:00Z", "ok": True, "root": "ab",
        "worker": "ana",
    }  # fmt: skip
    return encode_line(record | more)


@pytest.mark.usefixtures("environment")
def test_what_verify_found_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The records of verify say which captures are beyond doubt; a line that is none is told."""
    records = tmp_path / "verified.jsonl"
    records.write_bytes(
        _verdict(1)
        + _verdict(2, ok=False, problems=[{"check": "seal", "reason": "signed by <b>another</b>"}])
        + _verdict(3, absent=["blob"])
        + b'{"type":"chain"}\nnonsense\n'
    )
    text = written(tmp_path / "page.html", "--verified", str(records)).read_text()
    states = re.findall(r'<span class="state s-(\w+)">([^<]*)</span>', text)
    assert states[:3] == [
        ("fair", "verified, receipt due"),
        ("bad", "NOT verified (seal), receipt due"),
        ("fair", "verified, but for blob, receipt due"),
    ]
    assert ("fair", "checked, receipt due") in states
    assert "line 5" in capfd.readouterr().err


@pytest.mark.usefixtures("environment")
def test_what_never_arrived_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Missing places in a chain are on the page, and a warning of plain reports."""
    text = written(tmp_path / "page.html").read_text()
    assert "2 captures never arrived" in text
    report.main(["--by", "day"], standalone_mode=False)
    assert "2 captures of 'ana' never arrived: 2026-11-18T" in capfd.readouterr().err
    report.main(["--by", "day", "--since", "2026-11-19"], standalone_mode=False)
    assert capfd.readouterr().err == ""


@pytest.fixture
def database(environment: Operator) -> Iterator[sqlite3.Connection]:
    """Return the operator's database, which is as it was afterwards."""
    file = Path(environment.url.removeprefix("sqlite:///"))
    before = file.with_suffix(".before")
    with closing(sqlite3.connect(file)) as db, closing(sqlite3.connect(before)) as copy:
        db.backup(copy)
        yield db
        copy.backup(db)
    before.unlink()


@pytest.mark.usefixtures("environment")
def test_a_gap_across_the_border_of_the_period_is_told(
    database: sqlite3.Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is missing between the last capture before the period and its first one is missing in it too."""
    query = "SELECT sequence FROM bundle WHERE begin_us > ? ORDER BY sequence LIMIT 1"
    midnight = int(datetime(2026, 11, 18, 23, tzinfo=UTC).timestamp()) * 1_000_000
    (first,) = database.execute(query, (midnight,)).fetchone()
    database.execute("UPDATE bundle SET sequence = sequence + 1000 WHERE sequence >= ?", (first,))
    database.execute("UPDATE bundle SET sequence = sequence - 999 WHERE sequence >= ?", (first,))
    database.commit()
    report.main(["--by", "day", "--since", "2026-11-19"], standalone_mode=False)
    assert "1 capture of 'ana' never arrived: 2026-11-18T23:00:00Z to " in capfd.readouterr().err
    text = written(tmp_path / "page.html", "--since", "2026-11-19").read_text()
    assert text.count("1 capture never arrived") == 1


@pytest.mark.usefixtures("environment")
def test_what_was_refused_or_taken_by_retention_is_told(
    database: sqlite3.Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A refusal stands on its day with its reason as text; screenshots that are not kept are a number."""
    at = int(datetime(2026, 11, 19, 12, tzinfo=UTC).timestamp())
    database.execute(
        "INSERT INTO rejection (wrap, worker_id, reason, status, rejected_at, receipt_due)"
        " VALUES (?, 1, 'a <b>bad</b> zip', 65, ?, 0)",
        ("ab" * 32, at),
    )
    (kept,) = database.execute("SELECT sum(screenshots) FROM bundle").fetchone()
    (gone,) = database.execute("SELECT sum(screenshots) FROM bundle WHERE sequence < 20").fetchone()
    database.execute("UPDATE bundle SET screenshots_removed_at = 1 WHERE sequence < 20")
    database.commit()
    text = written(tmp_path / "page.html").read_text()
    assert "13:00 – 13:00</span> refused when it came: a &lt;b&gt;bad&lt;/b&gt; zip" in text
    assert f"{gone} screenshots of this period are not kept any more." in text
    assert text.count("<img src=") == kept - gone
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("environment")
def test_a_second_device_is_told_from_the_first(
    database: sqlite3.Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Numbers of captures say of which device they are where there are several; a new one is told."""
    assert f"<code>{DEVICE[:8]}</code>" not in written(tmp_path / "page.html").read_text()
    database.execute("UPDATE bundle SET device = ? WHERE sequence > 60", ("7" + DEVICE[1:],))
    database.commit()
    text = written(tmp_path / "page.html").read_text()
    assert f"<code>{DEVICE[:8]}</code> 1<" in text
    assert f"<code>7{DEVICE[1:8]}</code> 61<" in text
    capfd.readouterr()
    report.main(["--by", "day"], standalone_mode=False)
    told = f"the first 60 captures on device '7{DEVICE[1:]}' of 'ana' never arrived"
    assert told in capfd.readouterr().err
    assert told in html.unescape(text)
    assert "'ana' has a new device since 2026-11-" in html.unescape(text)


def test_what_was_withheld_is_no_gap(database: sqlite3.Connection, tmp_path: Path) -> None:
    """Captures that their worker destroyed have their place and their period, and no more is known."""
    begin, end = database.execute(
        "SELECT (SELECT end_us FROM bundle WHERE sequence = 4),"
        " (SELECT begin_us FROM bundle WHERE sequence = 7)"
    ).fetchone()
    database.executemany(
        "INSERT INTO withheld VALUES (1, ?, ?, ?, ?, ?, '{}', NULL, 0)",
        [(DEVICE, 5, "05" * 32, begin, begin + 1), (DEVICE, 6, "06" * 32, begin + 1, end)],
    )
    database.commit()
    text = written(tmp_path / "page.html").read_text()
    assert "never arrived" not in text
    assert text.count("the worker destroyed this capture before it was sent") == 2
    assert text.count('<span class="state s-gone">withheld</span>') == 2
