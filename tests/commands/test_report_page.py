"""`powdo report --html`: where the page goes, and what is refused."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
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


def test_what_was_withheld_is_no_gap(environment: Operator, tmp_path: Path) -> None:
    """Captures that their worker destroyed have their place and their period, and no more is known."""
    with sqlite3.connect(environment.url.removeprefix("sqlite:///")) as db:
        begin, end = db.execute(
            "SELECT (SELECT end_us FROM bundle WHERE sequence = 4),"
            " (SELECT begin_us FROM bundle WHERE sequence = 7)"
        ).fetchone()
        db.executemany(
            "INSERT INTO withheld VALUES (1, ?, ?, ?, ?, ?, '{}', NULL, 0)",
            [(DEVICE, 5, "05" * 32, begin, begin + 1), (DEVICE, 6, "06" * 32, begin + 1, end)],
        )
    try:
        text = written(tmp_path / "page.html").read_text()
    finally:
        with sqlite3.connect(environment.url.removeprefix("sqlite:///")) as db:
            db.execute("DELETE FROM withheld")
    assert "never arrived" not in text
    assert text.count("the worker destroyed this capture before it was sent") == 2
    assert text.count('<span class="state s-gone">withheld</span>') == 2
