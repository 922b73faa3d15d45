from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.servers.blossom.ranges import Part, Unsatisfiable, not_modified, parse_range, range_applies

_ETAG = f'"{"a" * 64}"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", Part(0, 0)),
        ("bytes=0-", Part(0, 199)),
        ("bytes=100-5000", Part(100, 199)),
        ("bytes=199-199", Part(199, 199)),
        ("bytes=-1", Part(199, 199)),
        ("bytes=-5000", Part(0, 199)),
        ("Bytes = 5 - 9", Part(5, 9)),
        ("bytes=0-" + "9" * 5000, Part(0, 199)),
        ("bytes=-" + "9" * 5000, Part(0, 199)),
        ("bytes=00000000000000000000000000001-2", Part(1, 2)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1,5-6", None),
        ("bytes=٣-٤", None),
        ("bytes 0-1", None),
        ("lines=0-1", None),
        ("", None),
    ],
)
def test_a_range_is_clamped_or_ignored(header: str | None, expected: Part | None) -> None:
    """One satisfiable range of bytes is clamped to the blob; anything else means the whole."""
    assert parse_range(header, 200) == expected


@pytest.mark.parametrize("header", ["bytes=200-", "bytes=200-300", "bytes=-0", "bytes=" + "9" * 400 + "-"])
def test_a_range_past_the_end_cannot_be_served(header: str) -> None:
    """What begins past the last byte is 416."""
    with pytest.raises(Unsatisfiable):
        parse_range(header, 200)


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d{0,6}-\d{0,6}", fullmatch=True), st.integers(1, 10**6))
def test_any_header_gives_bytes_of_the_blob(header: str, size: int) -> None:
    """Whatever a client writes, the part lies within the blob and is not empty."""
    try:
        part = parse_range(header, size)
    except Unsatisfiable:
        return
    assert part is None or 0 <= part.start <= part.end < size


def test_if_range_lets_only_the_strong_tag_through() -> None:
    """If-Range compares strongly, and no date ever fits (RFC 9110, 13.1.5)."""
    assert range_applies(None, _ETAG)
    assert range_applies(_ETAG, _ETAG)
    assert not range_applies(f"W/{_ETAG}", _ETAG)
    assert not range_applies('"b"', _ETAG)
    assert not range_applies("Wed, 21 Oct 2026 07:28:00 GMT", _ETAG)


def test_if_none_match_compares_weakly_with_each_tag() -> None:
    """If-None-Match takes a list, weak tags and the star (RFC 9110, 13.1.2)."""
    assert not not_modified(None, _ETAG)
    assert not not_modified('"b"', _ETAG)
    assert not not_modified("a" * 64, _ETAG)
    assert not_modified("*", _ETAG)
    assert not_modified(f'"b", W/{_ETAG}', _ETAG)


def _naive(header: str, size: int) -> Part | type[Unsatisfiable] | None:
    """Return what section 14.1.2 of RFC 9110 says, by marking each byte that is asked for."""
    unit, equals, spec = header.partition("=")
    first, dash, last = (text.strip(" \t") for text in spec.partition("-"))
    digits = all(set(text) <= set("0123456789") for text in (first, last))
    if unit.strip(" \t").lower() != "bytes" or not equals or not dash or not digits or first == last == "":
        return None
    if first and last and int(last) < int(first):
        return None
    if first:
        wanted = [at for at in range(size) if at >= int(first) and (not last or at <= int(last))]
    else:
        wanted = [at for at in range(size) if size - at <= int(last)]
    return Part(wanted[0], wanted[-1]) if wanted else Unsatisfiable


_NUMBERS = st.integers(0, 300).map(str) | st.just("") | st.integers(0).map(str) | st.just("007")
_BLANKS = st.sampled_from(["", "", "", " ", "\t"])
_WRITTEN = st.tuples(
    st.sampled_from(["bytes", "bytes", "bytes", "Bytes", "lines", ""]),
    st.tuples(_BLANKS, st.sampled_from(["=", "=", "=", "", "=="]), _BLANKS).map("".join),
    _NUMBERS,
    st.tuples(_BLANKS, st.sampled_from(["-", "-", "-", "--", ","]), _BLANKS).map("".join),
    _NUMBERS,
).map("".join)


@given(_WRITTEN, st.integers(1, 300))
def test_ranges_are_those_of_a_naive_reading(header: str, size: int) -> None:
    """Every header that is nearly or wholly a range gives the bytes that the standard names, one by one."""
    try:
        found: object = parse_range(header, size)
    except Unsatisfiable:
        found = Unsatisfiable
    assert found == _naive(header, size)
