"""What never arrived: captures whose time is in no figure, though their chain shows that they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from powdo.lines import format_time
from powdo.worktime.intervals import DAY, Interval
from powdo.worktime.manifest import from_micros
from powdo.worktime.pieces import Missing, gaps

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.run import Run

#: How far around a period the captures are looked for between which one of the period is missing.
_AROUND = 31 * DAY
#: So many gaps are told one by one.
_TOLD = 3


def lost(store: Store, worker: Worker, window: Interval) -> list[Missing]:
    """Return the gaps in the chains of *worker* that reach into *window*, as far as they do."""
    places = store.places(worker.id, window.begin - _AROUND, window.end + _AROUND)
    return [
        gap._replace(begin=max(gap.begin, window.begin), end=min(gap.end, window.end))
        for gap in gaps(places)
        if gap.begin < window.end and gap.end >= window.begin
    ]


class Remark(NamedTuple):
    """Something about a worker's chains that a person should know; *serious* when it needs one."""

    text: str
    serious: bool


def remarks(store: Store, worker: Worker, window: Interval) -> list[Remark]:
    """Return what is to be said of links in two versions, lost beginnings, and devices new in *window*."""
    found: list[Remark] = []
    for number, chain in enumerate(store.chains(worker.id)):
        whose = f"device '{chain.device}' of '{worker.name}'"
        if chain.forked:
            places = " ".join(map(str, chain.forked[:_TOLD]))
            found.append(Remark(f"link {places} on {whose} was told in two versions", serious=True))
        begins = window.begin <= chain.begin_us < window.end
        if begins and chain.first > 1:
            found.append(
                Remark(f"the first {chain.first - 1} captures on {whose} never arrived", serious=True)
            )
        if begins and number:
            at = format_time(from_micros(chain.begin_us))
            found.append(
                Remark(f"'{worker.name}' has a new device since {at}: '{chain.device}'", serious=False)
            )
    return found


def tell(run: Run, store: Store, worker: Worker, window: Interval) -> None:
    """Warn of what never arrived, and tell what else is to be said of the chains."""
    for remark in remarks(store, worker, window):
        if remark.serious:
            run.console.warning(remark.text, hint=f"`powdo users show {worker.name}` shows the chains")
        else:
            run.console.note(remark.text)
    found = lost(store, worker, window)
    if not found:
        return
    number = sum(gap.captures for gap in found)
    periods = [
        f"{format_time(from_micros(gap.begin))} to {format_time(from_micros(gap.end))}" for gap in found
    ]
    more = f" and {len(found) - _TOLD} more gaps" if len(found) > _TOLD else ""
    run.console.warning(
        f"{number} capture{'s' * (number != 1)} of '{worker.name}' never arrived: "
        f"{', '.join(periods[:_TOLD])}{more}"
    )
