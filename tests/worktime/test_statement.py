"""What a DVM states: one spelling, and nothing else is read."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.worktime.link import parse_link
from powdo.worktime.statement import Statement, parse_statement

_HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
STATEMENTS = st.builds(
    Statement,
    blob=_HASHES,
    device=st.uuids().map(str),
    sequence=st.integers(0, 2**53 - 1),
    root=_HASHES,
    received=st.integers(0, 4_000_000_000),
)
KNOWN = Statement(blob="ab" * 32, device=str(UUID(int=7)), sequence=3, root="cd" * 32, received=1_796_000_000)


@given(STATEMENTS)
def test_a_statement_is_read_as_it_was_written(statement: Statement) -> None:
    """Written and read again, a statement is the same."""
    assert parse_statement(statement.content) == statement


def test_the_content_is_spelt_as_the_manual_says() -> None:
    """The keys stand in their order, in minified JSON."""
    assert KNOWN.content == (
        '{"v":1,"statement":"received","blob":"' + "ab" * 32 + '",'
        '"device":"00000000-0000-0000-0000-000000000007","sequence":3,"root":"' + "cd" * 32 + '",'
        '"received":"2026-11-30T00:53:20Z"}'
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v", 2),
        ("v", True),
        ("statement", "refused"),
        ("blob", "AB" * 32),
        ("blob", None),
        ("device", "box"),
        ("sequence", -1),
        ("sequence", 1.0),
        ("sequence", True),
        ("root", "cd"),
        ("received", "2026-11-30T00:53:20+00:00"),
        ("received", "yesterday"),
        ("received", 1_796_000_000),
        ("more", 1),
    ],
)
def test_another_content_is_refused(name: str, value: object) -> None:
    """A field that is missing, malformed, or spelt in another way makes it no statement."""
    changed = json.loads(KNOWN.content) | {name: value}
    with pytest.raises(BadRecordError, match=r"statement|RFC 3339"):
        parse_statement(json.dumps(changed, separators=(",", ":")))


@pytest.mark.parametrize("content", ["", "{}", "[]", '"x"', "\ud800", KNOWN.content + " "])
def test_what_is_no_statement_is_refused(content: str) -> None:
    """Anything may stand in an event of kind 78."""
    with pytest.raises(BadRecordError):
        parse_statement(content)


def test_a_link_is_no_statement_and_a_statement_no_link() -> None:
    """Both are contents of kind 78 events, and neither is taken for the other."""
    with pytest.raises(BadRecordError):
        parse_link(KNOWN.content)
