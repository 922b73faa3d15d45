"""The chain of links, one a capture, by which a device's captures bear witness to one another.

Rules:
- a link is the content of a kind 78 event: minified JSON, the keys of powdo-bundle(5) in their order;
- its hash is the sha256 of that string, and the next link carries it as `previous`; the first link has none;
- `root` is the salted sha256 of the manifest, or the link says `withheld`: a period, no contents;
- what is missing, told twice or altered shows as a problem; a withheld link is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from powdo.errors import BadRecordError
from powdo.records import JsonObject, decode_json, format_time, parse_time
from powdo.worktime.manifest import DEVICE, HEX64, Manifest, from_micros, manifest_root, micros

LINK_VERSION = 1
LINK_KIND = 78
MAX_PROOF = 1 << 16
#: So many signed links, with room to spare, fit into a proof.
MAX_WITHHELD = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link; *root* is None when the capture is withheld, *previous* None for a device's first."""

    device: str
    sequence: int
    begin: int
    end: int
    previous: str | None
    root: str | None

    @property
    def withheld(self) -> bool:
        """Return whether the capture was destroyed before it was sent."""
        return self.root is None

    @property
    def content(self) -> str:
        """Return the string that is signed and hashed."""
        obj: JsonObject = {
            "v": LINK_VERSION,
            "device": self.device,
            "sequence": self.sequence,
            "begin": format_time(from_micros(self.begin)),
            "end": format_time(from_micros(self.end)),
            "previous": self.previous,
        }
        obj |= {"withheld": True} if self.root is None else {"root": self.root}
        return json.dumps(obj, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """Return the sha256 of the content, which the next link carries as `previous`."""
        return link_hash(self.content)


def link_hash(content: str) -> str:
    """Return the hash of the link whose content string is *content*, as hex."""
    return hashlib.sha256(content.encode()).hexdigest()


def _hex(obj: Mapping[str, object], name: str) -> str:
    value = obj.get(name)
    if not isinstance(value, str) or HEX64.fullmatch(value) is None:
        raise BadRecordError(f"link: '{name}' must be 64 lower-case hex digits")
    return value


def _moment(obj: Mapping[str, object], name: str) -> int:
    value = obj.get(name)
    if not isinstance(value, str):
        raise BadRecordError(f"link: '{name}' must be a string")
    return micros(parse_time(value))


def parse_link(content: str) -> Link:
    """Return the link in *content*. Raises: BadRecordError unless it is spelt as we would spell it."""
    try:
        obj = decode_json(content.encode())
    except UnicodeEncodeError:
        raise BadRecordError("link: not UTF-8") from None
    if not isinstance(obj, dict) or obj.get("v") != LINK_VERSION:
        raise BadRecordError("link: not a JSON object of version 1")
    device, sequence = obj.get("device"), obj.get("sequence")
    if not isinstance(device, str) or DEVICE.fullmatch(device) is None:
        raise BadRecordError("link: 'device' must be a lower-case UUID")
    if type(sequence) is not int or not 0 <= sequence < 1 << 53:
        raise BadRecordError("link: 'sequence' must be a whole number")
    begin, end = _moment(obj, "begin"), _moment(obj, "end")
    if begin > end:
        raise BadRecordError("link: ends before it begins")
    link = Link(
        device=device,
        sequence=sequence,
        begin=begin,
        end=end,
        previous=None if obj.get("previous") is None else _hex(obj, "previous"),
        root=None if obj.get("withheld") is True else _hex(obj, "root"),
    )
    # One spelling only: two strings for one link would be two hashes, and so a forked chain.
    if link.content != content:
        raise BadRecordError("link: not in its canonical form")
    return link


def check_link(link: Link, manifest: Manifest, data: bytes) -> None:
    """Return nothing if *link* speaks of *manifest*, whose bytes are *data*. Raises: BadRecordError."""
    for name in ("device", "sequence", "begin", "end"):
        if getattr(link, name) != getattr(manifest, name):
            raise BadRecordError(f"the link's '{name}' is not the manifest's")
    if link.root is None:
        raise BadRecordError("the link says 'withheld', but the contents are here")
    if link.root != manifest_root(data, manifest):
        raise BadRecordError("the link's 'root' is not that of the manifest")


# --- proof.json ------------------------------------------------------------------------------------


def proof_to_bytes(
    link: str, event: Mapping[str, object] | None, withheld: Iterable[Mapping[str, object]] = ()
) -> bytes:
    """Return proof.json: the content of *link* and the kind 78 *event* that signs it, or null unsigned.

    *withheld* are links (as {"link", "event"}) of dropped captures, which have no bundle to tell them.
    """
    obj: JsonObject = {"link": link, "event": event}
    if told := list(withheld):
        obj["withheld"] = told
    return json.dumps(obj, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_proof(data: bytes) -> JsonObject:
    """Return proof.json as {"link": str, "event": object or None, "withheld": a list of such}.

    The events are compared with the links but their signatures are not checked: that takes the curve.
    Raises: BadRecordError.
    """
    if len(data) > MAX_PROOF:
        raise BadRecordError(f"proof: longer than {MAX_PROOF} bytes")
    obj = decode_json(data)
    own, link = _signed_link(obj)
    told = obj.get("withheld", []) if isinstance(obj, dict) else []
    if not isinstance(told, list) or len(told) > MAX_WITHHELD:
        raise BadRecordError(f"proof: 'withheld' must be a list of at most {MAX_WITHHELD} links")
    others = [_signed_link(item) for item in told]
    if any(item.device != link.device or item.sequence == link.sequence for _, item in others):
        raise BadRecordError("proof: a withheld link is none of the same device's others")
    return own | {"withheld": [item for item, _ in others]}


def _signed_link(obj: object) -> tuple[JsonObject, Link]:
    """Return {"link", "event"} of *obj*, and the link. Raises: BadRecordError."""
    if not isinstance(obj, dict) or not isinstance(obj.get("link"), str) or "event" not in obj:
        raise BadRecordError("proof: 'link' must be a string and 'event' be there")
    event = obj["event"]
    if event is not None:
        if not isinstance(event, dict):
            raise BadRecordError("proof: 'event' must be an object or null")
        if type(event.get("kind")) is not int or event["kind"] != LINK_KIND:
            raise BadRecordError(f"proof: the event is not of kind {LINK_KIND}")
        if event.get("content") != obj["link"]:
            raise BadRecordError("proof: the event signs another link")
    return {"link": obj["link"], "event": event}, parse_link(obj["link"])


# --- the chain -------------------------------------------------------------------------------------

ProblemKind = Literal["missing", "forked", "wrong-previous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with a device's chain, at the links from *first* to *last* sequence."""

    kind: ProblemKind
    device: str
    first: int
    last: int

    @property
    def message(self) -> str:
        """Return the problem in words."""
        if self.kind == "missing":
            which = (
                f"link {self.first} is"
                if self.first == self.last
                else f"links {self.first} to {self.last} are"
            )
            return f"{which} missing on device '{self.device}'"
        if self.kind == "forked":
            return f"link {self.first} on device '{self.device}' was told in two versions"
        return f"link {self.first} on device '{self.device}' does not continue the link before it"


def verify_chain(links: Iterable[Link], *, first: int | None = 1) -> list[Problem]:
    """Return what is wrong with the chains of *links*, by device and sequence.

    Order does not matter and the same link may come twice. A device's chain begins at sequence *first*, or,
    where that is None and the links are a part of it, wherever they begin.
    """
    devices: dict[str, dict[int, dict[str, Link]]] = {}
    for link in links:
        devices.setdefault(link.device, {}).setdefault(link.sequence, {})[link.hash] = link
    problems: list[Problem] = []
    for device in sorted(devices):
        problems += _verify_device(device, devices[device], first)
    return problems


def _verify_device(device: str, chain: Mapping[int, Mapping[str, Link]], first: int | None) -> list[Problem]:
    def problem(kind: ProblemKind, begin: int, end: int) -> None:
        problems.append(Problem(kind=kind, device=device, first=begin, last=end))

    problems: list[Problem] = []
    expected = min(chain) if first is None else first
    before: set[str | None] = {None}
    if first is None:
        before |= {link.previous for link in chain[expected].values()}
    for sequence in sorted(chain):
        links = chain[sequence]
        gap = sequence > expected
        if gap:
            problem("missing", expected, sequence - 1)
        if len(links) > 1:
            problem("forked", sequence, sequence)
        for link in links.values():
            # Past a gap the hash before is unknown; only the claim to be a first link is surely wrong.
            if link.previous is None if gap else link.previous not in before:
                problem("wrong-previous", sequence, sequence)
                break
        before = cast("set[str | None]", set(links))
        expected = sequence + 1
    return problems
