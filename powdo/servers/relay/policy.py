"""Who may write what: one pure decision over an event whose id and signature are right.

A gift wrap is signed by a one-time key, so its author says nothing: it comes in because the connection
authenticated as somebody on the list (NIP-42), or because its recipient is on the list and it carries
enough committed proof of work (NIP-13). Where the relay cannot be told who sends (`blind`), its recipient
alone lets it in, and *min_pow* may ask for work on top.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container
from dataclasses import dataclass, field

from powdo.nips import pow as proof_of_work
from powdo.nips.event import Event, is_expired
from powdo.nips.kinds import WRAP_KINDS
from powdo.servers.relay.limits import Limits

#: Gift wraps of NIP-59, stored and ephemeral.
WRAPS = frozenset(WRAP_KINDS)
_AUTH = 22242
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event may come in; *message* is what OK says.

    A *stranger*'s event came in by proof of work alone, and the store holds only so many of them.
    """

    accepted: bool
    message: str = ""
    stranger: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator has set; *allowed* holds hex public keys."""

    allowed: Container[str]
    open: bool = False
    min_pow: int = 0
    blind: bool = False
    limits: Limits = field(default_factory=Limits)

    def is_member(self, pubkeys: Collection[str]) -> bool:
        """Return whether one of *pubkeys* is on the list."""
        return any(pubkey in self.allowed for pubkey in pubkeys)


_ACCEPTED = Verdict(True)
_PROVED = Verdict(True, stranger=True)


def recipient_of(event: Event) -> str | None:
    """Return the one recipient of a gift wrap, or None when it is none or has not exactly one."""
    if event.kind not in WRAPS:
        return None
    recipients = [tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "p"]
    return recipients[0] if len(recipients) == 1 and _HEX.fullmatch(recipients[0]) else None


def decide(event: Event, policy: Policy, *, authenticated: Collection[str], now: int) -> Verdict:
    """Return whether *event* may be written by a connection that is *authenticated* as these public keys."""
    problem = _malformed(event, policy.limits, now)
    if problem:
        return Verdict(False, f"invalid: {problem}")
    if event.tags and any(tag[0] == "-" for tag in event.tags if tag) and event.pubkey not in authenticated:
        reason = "restricted" if authenticated else "auth-required"
        return Verdict(False, f"{reason}: this event may only be published by its author")
    if policy.open or event.pubkey in policy.allowed or policy.is_member(authenticated):
        return _ACCEPTED
    return _of_stranger(event, policy, known=bool(authenticated))


def _of_stranger(event: Event, policy: Policy, *, known: bool) -> Verdict:
    """Return the verdict for an event that nobody on the list stands up for."""
    known = known or policy.blind  # where AUTH changes nothing, it is not asked for
    if (policy.min_pow or policy.blind) and recipient_of(event) in policy.allowed:
        if proof_of_work.check(event, policy.min_pow):
            return _PROVED
        if known or event.tag("nonce") is not None:
            return Verdict(False, f"pow: {policy.min_pow} bits of committed proof of work are needed")
    if not known:
        return Verdict(False, "auth-required: only those on the allowlist publish here")
    return Verdict(False, "restricted: not on the allowlist")


def _malformed(event: Event, limits: Limits, now: int) -> str | None:
    """Return what is wrong with an event that no one may write."""
    if event.kind == _AUTH:
        return "an authentication event is not published"
    if event.kind in WRAPS and recipient_of(event) is None:
        return "a gift wrap names exactly one recipient"
    if event.created_at > now + limits.newest:
        return "created_at is in the future"
    if event.created_at < now - limits.oldest:
        return "created_at is too long ago"
    if len(event.tags) > limits.max_tags:
        return "too many tags"
    if is_expired(event, now):
        return "expired"
    return None
