"""`powdo report --html`: a page about what was ingested, with the screenshots made small in it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from powdo.adapters.database import Shot as Stored
from powdo.adapters.evidence import place
from powdo.adapters.page import (
    MOST,
    Page,
    Shot,
    Thumbnail,
    Thumbnails,
    check_target,
    render,
    save,
    words,
)
from powdo.commands.report.gathering import Gathered
from powdo.errors import BadRecordError, PowdoError
from powdo.lines import decode_line
from powdo.records.operator import Verified
from powdo.settings.paths import private_dir, write_private
from powdo.stdio import Lines
from powdo.worktime.pieces import State

if TYPE_CHECKING:
    from powdo.run import Run

_ABOUT = (
    "Counted from captures that the worker's own machine encrypted and sent. Time at the screen is time in "
    "which somebody was at keyboard or mouse; timesheets close short pauses and are in whole minutes."
)


def write(run: Run, gathered: Sequence[Gathered], file: Path, *, full: bool, verified: str | None) -> None:
    """Write the page about *gathered* to *file*, and with *full* the screenshots beside it.

    *verified* names a file of what `verify` has written.
    """
    target = check_target(file)
    verdicts = {} if verified is None else dict(_verdicts(run, verified))
    beside = target.with_name(f"{target.stem}-screenshots") if full else None
    shots = _shots(run, gathered, beside)
    people = [one.person(own, verdicts) for one, own in zip(gathered, shots, strict=True)]
    days = [page.day for person in people for page in person.pages]
    page = Page(
        title="Working time",
        period=words.period(min(days), max(days)) if days else "nothing in this period",
        about=_ABOUT,
        made=time.time_ns() // 1000,
        people=people,
        full=full,
    )
    save(target, render(page))


def _verdicts(run: Run, file: str) -> Iterator[tuple[tuple[str, str, int], State]]:
    """Yield what the records in *file* say of each bundle; a bad line is told and passed over."""
    for line in Lines([file]):
        try:
            if line.error is not None:
                raise line.error
            record = decode_line(line.data)
            if record.get("type") != Verified.TYPE:
                continue  # of chains the page makes its own
            found = Verified.from_json(record)
        except PowdoError as error:
            run.fail(error, line.number or None, line.source)
            continue
        failed = ", ".join(dict.fromkeys(str(problem.get("check")) for problem in found.problems))
        kept = f"verified, but for {' and '.join(found.absent)}" if found.absent else "verified"
        state = State(kept, "good") if found.ok else State(f"NOT verified ({failed})", "bad")
        yield (found.worker or "", found.device, found.sequence), state


def _shots(run: Run, gathered: Sequence[Gathered], beside: Path | None) -> list[list[Shot]]:
    """Return the screenshots of each of *gathered*, spread evenly if a page cannot hold them all."""
    found = [(number, shot) for number, one in enumerate(gathered) for shot in one.stored]
    shown = found[:: -(-len(found) // MOST) or 1]
    thumbnails = _thumbnails(run, [shot for _, shot in shown], beside)
    result: list[list[Shot]] = [[] for _ in gathered]
    for (number, shot), thumbnail in zip(shown, thumbnails, strict=True):
        result[number].append(_shot(shot, thumbnail, beside))
    return result


def _thumbnails(run: Run, shots: list[Stored], beside: Path | None) -> Iterator[Thumbnail | None]:
    """Yield each of *shots* made small, and keep it whole *beside* the page; None for one that is gone."""
    if beside is not None:
        private_dir(beside)
    failures: list[BadRecordError] = []
    with run.progress("screenshots", len(shots)) as progress:
        loads = [partial(_load, run, shot, beside) for shot in shots]
        for made in Thumbnails(len(loads)).of(loads):
            progress.advance(1)
            if isinstance(made, BadRecordError):
                failures.append(made)
            yield None if isinstance(made, BadRecordError) else made
    if failures:
        told = words.count(len(failures), "screenshot")
        run.console.warning(f"{told} cannot be shown: {failures[0].message}")


def _load(run: Run, shot: Stored, beside: Path | None) -> bytes:
    """Return the stored image, also kept *beside* the page. Raises: BadRecordError when it is not there."""
    path = place(run.settings.data_dir / "evidence", shot.sha256)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRecordError(f"cannot read '{path}': {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != shot.sha256:
        raise BadRecordError(f"'{path}' is damaged")
    if beside is not None and not (beside / _name(shot)).exists():
        write_private(beside / _name(shot), data)
    return data


def _name(shot: Stored) -> str:
    return f"{shot.sha256}.{shot.kind}"


def _shot(shot: Stored, thumbnail: Thumbnail | None, beside: Path | None) -> Shot:
    return Shot(
        time=shot.time,
        monitor=shot.monitor,
        width=shot.width,
        height=shot.height,
        caption="",
        thumbnail=thumbnail,
        original=None if beside is None else f"{quote(beside.name)}/{_name(shot)}",
    )
