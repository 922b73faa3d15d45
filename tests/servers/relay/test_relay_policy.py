"""Who may write what, as a table."""

from __future__ import annotations

import re

import pytest
from relay_helpers import new_key, signed

from powdo.nips.event import Event, Tags, Unsigned
from powdo.nips.relay_messages import prefix
from powdo.servers.relay.policy import Policy, decide, recipient_of

NOW = 1_800_000_000
MEMBER, STRANGER = new_key(), new_key()
BITS = 4


def event(author: str = "stranger", kind: int = 1, tags: Tags = (), at: int = NOW) -> Event:
    """Return a signed event by a member or a stranger."""
    key = MEMBER if author == "member" else STRANGER
    return signed(key, kind, tags, created_at=at)


def mined(tags: Tags, bits: int, target: int) -> Event:
    """Return a stand-in for an event whose id has *bits* zero bits; nobody checks its signature here."""
    nonce = 0
    while True:
        full = (*tags, ("nonce", str(nonce), str(target)))
        draft = Unsigned(STRANGER.pubkey, NOW, 1059, full, "")
        if int(draft.id, 16) >> (256 - bits) == 0:
            return Event(draft.id, draft.pubkey, NOW, 1059, full, "", "0" * 128)
        nonce += 1


TO_MEMBER: Tags = (("p", MEMBER.pubkey),)
TO_STRANGER: Tags = (("p", STRANGER.pubkey),)
NOBODY: tuple[str, ...] = ()
AS_MEMBER, AS_STRANGER = (MEMBER.pubkey,), (STRANGER.pubkey,)
HAS_POW = mined(TO_MEMBER, BITS, BITS)


@pytest.mark.parametrize(
    ("written", "authenticated", "open_", "min_pow", "answer"),
    [
        (event("member"), NOBODY, False, 0, ""),
        (event(), NOBODY, False, 0, "auth-required"),
        (event(), AS_STRANGER, False, 0, "restricted"),
        (event(), AS_MEMBER, False, 0, ""),
        (event(), (*AS_STRANGER, *AS_MEMBER), False, 0, ""),
        (event(), NOBODY, True, 0, ""),
        (event(kind=1059, tags=TO_MEMBER), NOBODY, False, 0, "auth-required"),
        (event(kind=1059, tags=TO_STRANGER), AS_MEMBER, False, 0, ""),
        (event(kind=1059, tags=TO_MEMBER), NOBODY, False, BITS, "auth-required"),
        (event(kind=1059, tags=TO_MEMBER), AS_STRANGER, False, 200, "pow"),
        (HAS_POW, NOBODY, False, BITS, ""),
        (HAS_POW, NOBODY, False, 0, "auth-required"),
        (HAS_POW, NOBODY, False, 200, "pow"),
        (mined(TO_MEMBER, BITS, 1), NOBODY, False, BITS, "pow"),
        (mined(TO_STRANGER, BITS, BITS), NOBODY, False, BITS, "auth-required"),
        (mined(TO_STRANGER, BITS, BITS), AS_STRANGER, False, BITS, "restricted"),
        (event("member", tags=(("-",),)), NOBODY, False, 0, "auth-required"),
        (event("member", tags=(("-",),)), AS_STRANGER, False, 0, "restricted"),
        (event("member", tags=(("-",),)), AS_MEMBER, False, 0, ""),
        (event("stranger", tags=(("-",),)), NOBODY, True, 0, "auth-required"),
        (event("member", kind=22242), NOBODY, True, 0, "invalid"),
        (event("member", kind=1059), AS_MEMBER, True, 0, "invalid"),
        (event("member", kind=21059, tags=(*TO_MEMBER, *TO_STRANGER)), AS_MEMBER, True, 0, "invalid"),
        (event("member", kind=1059, tags=(("p", "npub1"),)), AS_MEMBER, True, 0, "invalid"),
        (event("member", at=NOW + 900), NOBODY, False, 0, ""),
        (event("member", at=NOW + 901), NOBODY, False, 0, "invalid"),
        (event("member", at=NOW - 3 * 86400), NOBODY, False, 0, ""),
        (event("member", at=NOW - 4 * 365 * 86400), NOBODY, False, 0, "invalid"),
        (event("member", tags=(("expiration", str(NOW)),)), NOBODY, False, 0, "invalid"),
        (event("member", tags=(("expiration", str(NOW + 1)),)), NOBODY, False, 0, ""),
        (event("member", tags=(("t", "x"),) * 2501), NOBODY, False, 0, "invalid"),
    ],
)
def test_the_table_of_decisions(
    written: Event, authenticated: tuple[str, ...], open_: bool, min_pow: int, answer: str
) -> None:
    """Each line of the write policy gives the prefix it should, or none when the event may come in."""
    policy = Policy(allowed={MEMBER.pubkey}, open=open_, min_pow=min_pow)
    verdict = decide(written, policy, authenticated=authenticated, now=NOW)
    assert verdict.accepted == (answer == "")
    assert verdict.message.partition(":")[0] == answer


@pytest.mark.parametrize(
    ("written", "authenticated", "min_pow", "answer"),
    [
        (event("member"), NOBODY, 0, ""),
        (event(), NOBODY, 0, "restricted"),
        (event(), AS_STRANGER, 0, "restricted"),
        (event(), AS_MEMBER, 0, ""),
        (event(kind=1059, tags=TO_MEMBER), NOBODY, 0, ""),
        (event(kind=1059, tags=TO_STRANGER), NOBODY, 0, "restricted"),
        (event(kind=21059, tags=TO_MEMBER), NOBODY, 0, ""),
        (event(kind=1, tags=TO_MEMBER), NOBODY, 0, "restricted"),
        (event(kind=1059, tags=TO_MEMBER), NOBODY, BITS, "pow"),
        (HAS_POW, NOBODY, BITS, ""),
        (mined(TO_MEMBER, BITS, 1), NOBODY, BITS, "pow"),
        (mined(TO_STRANGER, BITS, BITS), NOBODY, BITS, "restricted"),
        (event("member", kind=1059, tags=TO_STRANGER), NOBODY, BITS, ""),
        (event("member", tags=(("-",),)), AS_MEMBER, 0, ""),
        (event("member", tags=(("-",),)), NOBODY, 0, "auth-required"),
        (event(kind=1059, tags=(*TO_MEMBER, *TO_STRANGER)), NOBODY, 0, "invalid"),
    ],
)
def test_the_table_where_the_sender_is_not_told(
    written: Event, authenticated: tuple[str, ...], min_pow: int, answer: str
) -> None:
    """A wrap comes in by its recipient, with work where it is asked for; nobody is sent to AUTH in vain."""
    policy = Policy(allowed={MEMBER.pubkey}, min_pow=min_pow, blind=True)
    verdict = decide(written, policy, authenticated=authenticated, now=NOW)
    assert verdict.accepted == (answer == "")
    assert verdict.message.partition(":")[0] == answer


def test_only_what_came_in_by_work_alone_is_a_strangers() -> None:
    """What a member stands up for, or an open relay takes, is not counted against the strangers' caps."""
    policy = Policy(allowed={MEMBER.pubkey}, min_pow=BITS)
    assert decide(HAS_POW, policy, authenticated=NOBODY, now=NOW).stranger
    assert decide(HAS_POW, policy, authenticated=AS_STRANGER, now=NOW).stranger
    assert not decide(HAS_POW, policy, authenticated=AS_MEMBER, now=NOW).stranger
    open_ = Policy(allowed={MEMBER.pubkey}, min_pow=BITS, open=True)
    assert not decide(HAS_POW, open_, authenticated=NOBODY, now=NOW).stranger


def test_every_refusal_begins_with_a_word_of_the_standard() -> None:
    """OK messages of refusals are a prefix of NIP-01, a colon, a space and words for a person."""
    policy = Policy(allowed={MEMBER.pubkey}, min_pow=BITS)
    refused = [
        decide(written, policy, authenticated=keys, now=NOW)
        for written in (event(), event(kind=1059), event(tags=(("-",),)), mined(TO_MEMBER, BITS, 1))
        for keys in (NOBODY, AS_STRANGER)
    ]
    assert {prefix(verdict.message) for verdict in refused} == {
        *("auth-required", "restricted", "invalid", "pow")
    }
    assert all(re.fullmatch(r"[a-z-]+: [a-z0-9].*[^.]", verdict.message) for verdict in refused)


def test_only_gift_wraps_have_a_recipient() -> None:
    """The p tag of another kind is no recipient."""
    assert recipient_of(event(kind=1059, tags=TO_MEMBER)) == MEMBER.pubkey
    assert recipient_of(event(kind=1, tags=TO_MEMBER)) is None
