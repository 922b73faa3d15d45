"""Links: one spelling each, a hash chain in which what is missing or altered shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.worktime.link import (
    MAX_WITHHELD,
    Link,
    check_link,
    link_hash,
    parse_link,
    parse_proof,
    proof_to_bytes,
    verify_chain,
)
from powdo.worktime.manifest import Manifest, manifest_root

DEVICE = "6f1c2c1e-3d0a-4d5e-9a64-0d7f6f1b2a33"
BEGIN = 1_795_000_000_000_000
MINUTE = 60_000_000


def chain(length: int, *, withheld: frozenset[int] = frozenset()) -> list[Link]:
    """Return the sound chain of *length* captures."""
    links: list[Link] = []
    for sequence in range(1, length + 1):
        links.append(
            Link(
                device=DEVICE,
                sequence=sequence,
                begin=BEGIN + sequence * MINUTE,
                end=BEGIN + (sequence + 1) * MINUTE,
                previous=links[-1].hash if links else None,
                root=None if sequence in withheld else f"{sequence:064x}",
            )
        )
    return links


def found(links: list[Link]) -> list[tuple[str, int, int]]:
    """Return what is wrong with *links*."""
    return [(problem.kind, problem.first, problem.last) for problem in verify_chain(links)]


def test_a_link_is_spelt_as_documented() -> None:
    """The content is minified JSON with its keys in order, and the hash is its sha256."""
    link = chain(1)[0]
    assert link.content == (
        f'{{"v":1,"device":"{DEVICE}","sequence":1,"begin":"2026-11-18T11:07:40Z",'
        f'"end":"2026-11-18T11:08:40Z","previous":null,"root":"{1:064x}"}}'
    )
    assert link.hash == hashlib.sha256(link.content.encode()).hexdigest() == link_hash(link.content)


def test_a_withheld_link_tells_only_its_period() -> None:
    """A withheld link has no root."""
    link = chain(1, withheld=frozenset({1}))[0]
    assert link.withheld
    assert json.loads(link.content)["withheld"] is True
    assert "root" not in json.loads(link.content)
    assert parse_link(link.content) == link


@given(st.integers(1, 20), st.frozensets(st.integers(1, 20)), st.randoms(use_true_random=False))
def test_a_sound_chain_has_no_problem(length: int, withheld: frozenset[int], random: Any) -> None:
    """Links in any order, twice told or withheld, are sound."""
    links = chain(length, withheld=withheld)
    again = [parse_link(link.content) for link in links] + links
    random.shuffle(again)
    assert found(again) == []


@given(st.integers(2, 20), st.data())
def test_whatever_is_missing_shows(length: int, data: st.DataObject) -> None:
    """Each run of missing links before the last is told as one gap, and nothing else is."""
    kept = data.draw(st.sets(st.integers(1, length), min_size=1))
    links = [link for link in chain(length) if link.sequence in kept]
    gaps, expected = [], 1
    for sequence in sorted(kept):
        if sequence > expected:
            gaps.append(("missing", expected, sequence - 1))
        expected = sequence + 1
    assert found(links) == gaps


def test_two_versions_of_a_link_are_a_fork() -> None:
    """A link told in two versions is forked, whichever the next one continues."""
    links = chain(3)
    assert found([*links, replace(links[1], root="f" * 64)]) == [("forked", 2, 2)]


def test_an_altered_link_breaks_the_next() -> None:
    """A link rewritten after the fact no longer hashes to what its successor says."""
    links = chain(4)
    links[1] = replace(links[1], end=links[1].end + MINUTE)
    assert found(links) == [("wrong-previous", 3, 3)]


def test_a_chain_begun_anew_shows() -> None:
    """A link that claims to be a first one must be number one, also behind a gap."""
    links = chain(5)
    assert found([*links[:2], replace(links[2], previous=None)]) == [("wrong-previous", 3, 3)]
    assert found([links[0], replace(links[3], previous=None)]) == [
        ("missing", 2, 3),
        ("wrong-previous", 4, 4),
    ]
    assert found([replace(links[0], previous="0" * 64)]) == [("wrong-previous", 1, 1)]


def test_devices_have_chains_of_their_own() -> None:
    """A gap on one device is told of that device only."""
    other = "00000000-0000-4000-8000-000000000000"
    lone = replace(chain(2)[1], device=other)
    problems = verify_chain([*chain(3), lone])
    assert [(problem.device, problem.kind) for problem in problems] == [(other, "missing")]
    assert other in problems[0].message


BAD_LINKS = {
    "spaces": json.dumps,
    "another order": lambda obj: json.dumps(dict(reversed(obj.items())), separators=(",", ":")),
    "an unknown key": {"note": "x"},
    "another version": {"v": 2},
    "a version that is a bool": {"v": True},
    "a time in another spelling": {"begin": "2026-11-18T11:07:40.000Z"},
    "a time in another zone": {"begin": "2026-11-18T12:07:40+01:00"},
    "an end before the begin": {"end": "2026-11-18T10:00:00Z"},
    "an upper-case root": {"root": "A" * 64},
    "a short previous": {"previous": "ab"},
    "both a root and withheld": {"withheld": True},
    "no device": {"device": None},
    "a sequence that is a bool": {"sequence": True},
}


@pytest.mark.parametrize("change", BAD_LINKS.values(), ids=BAD_LINKS.keys())
def test_any_other_spelling_of_a_link_is_refused(change: Any) -> None:
    """A link that is not canonical could have two hashes, so it is a bad record."""
    obj = json.loads(chain(1)[0].content)
    content = change(obj) if callable(change) else json.dumps(obj | change, separators=(",", ":"))
    with pytest.raises(BadRecordError):
        parse_link(content)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\ud800"])
def test_what_is_no_link_is_refused(content: str) -> None:
    """Text that is not a link's is a bad record."""
    with pytest.raises(BadRecordError):
        parse_link(content)


# --- link and manifest -----------------------------------------------------------------------------


def manifest_and_link() -> tuple[Manifest, bytes, Link]:
    """Return a manifest, its bytes and the link that speaks of it."""
    manifest = Manifest(
        id="c1", device=DEVICE, sequence=1, begin=BEGIN, end=BEGIN + MINUTE, timezone="UTC", salt="ab" * 16
    )
    data = manifest.to_bytes()
    root = manifest_root(data)
    return (
        manifest,
        data,
        Link(device=DEVICE, sequence=1, begin=BEGIN, end=BEGIN + MINUTE, previous=None, root=root),
    )


def test_a_link_speaks_of_its_manifest() -> None:
    """The link made for a manifest is accepted with it."""
    manifest, data, link = manifest_and_link()
    check_link(link, manifest, data)


@pytest.mark.parametrize(
    "change",
    [
        {"device": "0" * 8 + DEVICE[8:]},
        {"sequence": 2},
        {"begin": BEGIN + 1},
        {"end": BEGIN},
        {"root": "0" * 64},
        {"root": None},
    ],
)
def test_a_link_that_speaks_of_another_manifest_is_refused(change: dict[str, Any]) -> None:
    """Any difference between link and manifest is a bad record."""
    manifest, data, link = manifest_and_link()
    with pytest.raises(BadRecordError):
        check_link(replace(link, **change), manifest, data)


# --- proof.json ------------------------------------------------------------------------------------


def test_a_proof_comes_back_signed_or_unsigned() -> None:
    """proof.json holds the link and its event, or null."""
    content = chain(1)[0].content
    event = {"kind": 78, "content": content, "tags": []}
    assert parse_proof(proof_to_bytes(content, event)) == {"link": content, "event": event, "withheld": []}
    assert parse_proof(proof_to_bytes(content, None)) == {"link": content, "event": None, "withheld": []}


@pytest.mark.parametrize(
    "proof",
    [
        {"link": chain(1)[0].content},
        {"link": chain(1)[0].content, "event": 1},
        {"link": chain(1)[0].content, "event": {"kind": 1, "content": chain(1)[0].content}},
        {"link": chain(1)[0].content, "event": {"kind": 78.0, "content": chain(1)[0].content}},
        {"link": chain(1)[0].content, "event": {"kind": 78, "content": chain(2)[1].content}},
        {"link": 1, "event": None},
        {"link": "{}", "event": None},
        [],
    ],
)
def test_a_proof_of_something_else_is_refused(proof: object) -> None:
    """An event of another kind or over another link is a bad record."""
    with pytest.raises(BadRecordError):
        parse_proof(json.dumps(proof).encode())


def test_a_proof_carries_withheld_links() -> None:
    """Links of dropped captures come back with their events, in order."""
    first, second, third = chain(3, withheld=frozenset({1, 2}))
    event = {"kind": 78, "content": second.content}
    told = [{"link": first.content, "event": None}, {"link": second.content, "event": event}]
    assert parse_proof(proof_to_bytes(third.content, None, told))["withheld"] == told


@pytest.mark.parametrize(
    "told",
    [
        {},
        [None],
        [{"link": chain(2)[1].content}],
        [{"link": chain(1)[0].content, "event": None}],
        [{"link": chain(2)[1].content, "event": {"kind": 78, "content": chain(1)[0].content}}],
        [
            {
                "link": replace(chain(2)[1], device="0" * 8 + "-0000-0000-0000-" + "0" * 12).content,
                "event": None,
            }
        ],
        [{"link": chain(2)[1].content, "event": None}] * (MAX_WITHHELD + 1),
    ],
)
def test_withheld_links_of_something_else_are_refused(told: object) -> None:
    """Another device's link, the bundle's own, one that another event signs, and too many are bad records."""
    proof = {"link": chain(1)[0].content, "event": None, "withheld": told}
    with pytest.raises(BadRecordError):
        parse_proof(json.dumps(proof).encode())


def test_the_longest_proof_fits() -> None:
    """As many withheld links as there may be, all signed, are a proof that may be read."""
    links = chain(MAX_WITHHELD + 1)
    hexes = {"id": "a" * 64, "pubkey": "b" * 64, "sig": "c" * 128, "created_at": 1 << 40, "tags": []}
    told = [
        {"link": link.content, "event": hexes | {"kind": 78, "content": link.content}} for link in links[1:]
    ]
    assert len(parse_proof(proof_to_bytes(links[0].content, None, told))["withheld"]) == MAX_WITHHELD
