"""Lines of JSON and times."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.lines import MAX_LINE, decode_json, decode_line, encode_json, encode_line, format_time, parse_time

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_what_is_written_is_read_again(obj):
    """A line holds its object exactly, minified, in one line."""
    line = encode_line(obj)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line) == obj
    assert json.loads(line) == obj


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    """No bytes make the reader fail in another way than by BadRecordError."""
    try:
        value = decode_line(data)
    except BadRecordError:
        return
    assert isinstance(value, dict)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"NaN", "'NaN' is not JSON"),
        (b"[-Infinity]", "'-Infinity' is not JSON"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig)"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 5000, "not JSON: Exceeds the limit"),
        (b'{"a":1} x', "not JSON: Extra data"),
        (b"{'a':1}", "not JSON: Expecting property name"),
        (b'{"a":"\n"}', "not JSON: Invalid control character"),
        (b"", "not JSON: Expecting value"),
    ],
)
def test_what_is_no_strict_json_is_refused(data, message):
    """Other encodings, NaN, depth, endless numbers and trailing text are refused, and said so."""
    with pytest.raises(BadRecordError) as caught:
        decode_json(data)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"text"', b"true"])
def test_a_line_holds_an_object(data):
    """JSON that is no object is no record."""
    with pytest.raises(BadRecordError, match="not a JSON object"):
        decode_line(data)


def test_what_cannot_be_written_is_refused():
    """Values outside JSON, depth and overlong lines are refused."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), float("inf"), {1, 2}, deep):
        with pytest.raises(BadRecordError):
            encode_json(value)
    for obj in ({"a": "\ud800"}, {"a": "x" * MAX_LINE}):
        with pytest.raises(BadRecordError):
            encode_line(obj)


_MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(_MOMENTS)
def test_times_are_written_in_utc_and_read_again(moment):
    """A time goes through text without loss, and ends in Z."""
    text = format_time(moment)
    assert text.endswith("Z")
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC
    assert parse_time(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
        ("2024-02-29t12:00:00.5z", "2024-02-29T12:00:00.5Z"),
        ("2024-03-01 01:30:00+01:30", "2024-03-01T00:00:00Z"),
        ("2024-01-01T00:00:00.123456789-00:00", "2024-01-01T00:00:00.123456Z"),
    ],
)
def test_rfc_3339_in_all_its_forms(text, written):
    """Lower case, a blank, fractions and offsets are understood; nanoseconds are cut."""
    assert format_time(parse_time(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "", "2024-01-01", "2024-01-01T00:00:00", "2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z",
        "2024-01-01T23:59:60Z", "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+01:75",
        "2024-01-01T00:00:00+0100", "2024-01-01T00:00Z", "24-01-01T00:00:00Z", "2024-01-01T00:00:00Z\n",
        "٢٠٢٤-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "2024-01-01T00:00:00.Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    """Times without a zone, of days or hours that do not exist, or in other forms are refused."""
    with pytest.raises(BadRecordError):
        parse_time(text)
