"""What a miner works on (NIP-13): an event's serialization in which only the digits of a nonce change.

Rules:
- the nonce tag is the last one and commits to the target; older ones are removed, others keep their order;
- the nonce has a fixed number of decimal digits without a leading zero, at most 19, so that it fits 64 bits;
- its last four digits fill one 32-bit word of SHA-256's message: the first ones need to change only every
  10 000 attempts, and the miner's kernels take the word from a table.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from powdo.nips.event import Tags, Unsigned, serialize
from powdo.nips.giftwrap import SEAL
from powdo.nips.kinds import GIFT_WRAP, WRAP_KINDS
from powdo.nips.pow import difficulty

#: Nonces that differ in their last four digits only are one turn of a kernel.
TURN = 10_000
_LEAST_DIGITS = 16
_BLOCK = 64
#: SHA-256 appends a bit and the length in eight bytes.
_PADDING = 9
#: Whose time is dated back on purpose (NIP-59); that of other events is kept fresh while they are mined.
DATED_BACK = frozenset({SEAL, *WRAP_KINDS})
MAX_TARGET = 256


class Template(NamedTuple):
    """An event without nonce, and its serialization with one: *head*, so many *digits*, *tail*."""

    event: Unsigned
    target: int
    head: bytes
    tail: bytes
    digits: int

    @property
    def message(self) -> bytes:
        """The serialization with zeros for the nonce."""
        return self.head + b"0" * self.digits + self.tail

    @property
    def blocks(self) -> int:
        """How many blocks of SHA-256 an attempt hashes: those from the last digits on."""
        size = len(self.head) + self.digits + len(self.tail) + _PADDING
        return -(-size // _BLOCK) - (len(self.head) + self.digits - 4) // _BLOCK

    @property
    def turns(self) -> range:
        """What the nonces may begin with: all that leaves out a leading zero and stays below 2**63."""
        first: int = 10 ** (self.digits - 5)
        return range(first, 9 * first)

    def mined(self, nonce: int) -> Unsigned:
        """Return the event with *nonce*, hashed again as an event is.

        Raises:
            ValueError: it has not the bits of the target; that is a fault of the kernel.
        """
        event = with_nonce(self.event, str(nonce), self.target)
        digest = sha256(serialize(*event)).hexdigest()
        if difficulty(digest) < self.target:
            raise ValueError(f"nonce {nonce} gives {difficulty(digest)} bits, not {self.target}")
        return event


def without_nonce(tags: Tags) -> Tags:
    """Return *tags* without nonce tags."""
    return tuple(tag for tag in tags if tag[0] != "nonce")


def with_nonce(event: Unsigned, nonce: str, target: int) -> Unsigned:
    """Return *event* with this nonce tag as its last tag and its only one."""
    return event._replace(tags=(*without_nonce(event.tags), ("nonce", nonce, str(target))))


def make_template(event: Unsigned, target: int) -> Template:
    """Return what is mined to give *event* *target* bits.

    Raises:
        BadRecordError: the event cannot be serialized.
        ValueError: no id has so many bits.
    """
    if not 0 <= target <= MAX_TARGET:
        raise ValueError(f"{target} bits are out of range")
    event = event._replace(tags=without_nonce(event.tags))
    whole = serialize(*with_nonce(event, "", target))
    # what follows the tags is as long without any: `,"…"]`
    end = len(serialize(*event._replace(tags=()))) - len(serialize(*event._replace(tags=(), content=""))) + 4
    after = len(f'","{target}"]]') + end
    head, tail = whole[: len(whole) - after], whole[len(whole) - after :]
    digits = _LEAST_DIGITS + -(len(head) + _LEAST_DIGITS) % 4
    return Template(event, target, head, tail, digits)


def refreshed(template: Template, now: int) -> Template:
    """Return *template* dated *now*, unless its event's time is dated back on purpose."""
    event = template.event
    if event.kind in DATED_BACK or event.created_at == now:
        return template
    return make_template(event._replace(created_at=now), template.target)


def sized(size: int) -> Template:
    """Return a template of a gift wrap's shape, of *size* bytes or a few more, that is never found."""
    event = Unsigned("0" * 64, 0, GIFT_WRAP, (("p", "0" * 64),), "")
    empty = make_template(event, MAX_TARGET)
    return make_template(event._replace(content="x" * max(0, size - len(empty.message))), MAX_TARGET)
