"""The chains of one worker's or one identity's devices: what is missing, forked or does not continue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.lines import decode_json
from powdo.nips.signed import check_signed
from powdo.records.operator import Chain
from powdo.worktime.link import LINK_KIND, Link, Problem, parse_link, verify_chain


class Told(NamedTuple):
    """A link as it was told: its text, the text of the event that signs it, and whether it has no bundle."""

    link: str
    event: str | None
    withheld: bool


@dataclass
class Device:
    """The links of one device, and what is wrong with them as a chain."""

    device: str
    links: list[Link] = field(default_factory=list)
    delivered: set[int] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def at(self, sequence: int) -> list[str]:
        """Return what is wrong with the place of the link *sequence*."""
        return [
            problem.message
            for problem in self.problems
            if problem.kind != "missing" and problem.first == sequence
        ]

    def record(self, first: int, last: int, *, worker: str | None = None, npub: str | None = None) -> Chain:
        """Return the record of the links from *first* to *last*; a gap right before them counts."""
        inside = {link.sequence for link in self.links if first <= link.sequence <= last}
        near = [problem for problem in self.problems if problem.last >= first - 1 and problem.first <= last]
        missing = [problem for problem in near if problem.kind == "missing"]
        texts = (*self.unread, *(problem.message for problem in near))
        return Chain(
            worker=worker,
            npub=npub,
            device=self.device,
            first=first,
            last=last,
            bundles=len(inside & self.delivered),
            withheld=len(inside - self.delivered),
            missing=tuple({"first": problem.first, "last": problem.last} for problem in missing),
            problems=texts,
            ok=not texts,
        )


def devices(told: Iterable[Told], authors: Sequence[str], *, first: int | None = 1) -> dict[str, Device]:
    """Return the devices of the links that were *told*, signed by one of *authors* where they are signed.

    Of those that have a bundle the signature is left to whom looks at the bundle. *first* as `verify_chain`.
    """
    found: dict[str, Device] = {}
    for item in told:
        try:
            link = parse_link(item.link)
        except BadRecordError:
            continue  # a bundle's own check tells it; here its number is missing
        device = found.setdefault(link.device, Device(link.device))
        device.links.append(link)
        if item.withheld:
            device.unread += _unproved(item, link, authors)
        else:
            device.delivered.add(link.sequence)
    for device in found.values():
        device.problems = verify_chain(device.links, first=first)
    return found


def _unproved(item: Told, link: Link, authors: Sequence[str]) -> list[str]:
    """Return why the signed link *item*, which has no bundle, cannot be believed."""
    if item.event is None:
        return []
    try:
        event = decode_json(item.event.encode())
        author = event.get("pubkey") if isinstance(event, dict) else None
        if not isinstance(author, str) or author not in authors:
            raise PeerProtocolError("the link is signed by another than the author")
        check_signed(event, kind=LINK_KIND, content=item.link, author=author, what="link")
    except (BadRecordError, PeerProtocolError) as error:
        return [f"the withheld link {link.sequence} on device '{link.device}': {error.message}"]
    return []
