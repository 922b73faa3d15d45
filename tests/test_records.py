"""The records that travel between commands."""

from __future__ import annotations

from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.lines import decode_line, encode_line
from powdo.records import Bundle, Capture, Record
from powdo.records.network import Listening, Published
from powdo.records.operator import Ingested, Rejected, Synced, Timesheet

KINDS = (Capture, Bundle, Published, Ingested, Rejected, Timesheet, Synced, Listening)
_NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_SAMPLES: dict[str, Any] = {
    "text": "t",
    "integer": 7,
    "flag": True,
    "moment": "2026-03-02T09:00:00Z",
    "hex32": "ab" * 32,
    "texts": ["a", "b"],
    "objects": [{"url": "https://b.example/x"}],
    "fragment": {"begin": "2026-03-02T09:00:00Z"},
}
_WRONG: dict[str, list[Any]] = {
    "text": [1, [], {}, False],
    "integer": [-1, "7", 1.5, True, 1 << 53],
    "flag": [1, "true", []],
    "moment": [0, "2026-03-02", "today"],
    "hex32": ["AB" * 32, "ab" * 31, "zz" * 32, 5, "ab" * 31 + "é" * 2],
    "texts": ["a", [1], {}],
    "objects": [["a"], {}, "x"],
    "fragment": ["a", [], 1],
}


def _check(item: Any) -> str:
    return str(item.metadata["check"].__name__)


def _full(kind: type[Record]) -> dict[str, Any]:
    """Return a record of *kind* with every field."""
    own = {item.name: _SAMPLES[_check(item)] for item in fields(kind) if item.name != "extra"}
    return {"type": kind.TYPE, "v": 1} | own


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_goes_through_a_line_unchanged(kind):
    """What one command writes, the next one reads and writes the same way."""
    record = kind.from_json(_full(kind))
    assert record.to_json() == _full(kind)
    again = kind.from_json(decode_line(encode_line(record.to_json())))
    assert again == record
    assert kind.from_json(record.to_json()) == record


@pytest.mark.parametrize("kind", KINDS)
def test_keys_we_do_not_know_pass_through(kind):
    """A field of a later version, or of somebody's own, is kept."""
    obj = _full(kind) | {"later": {"a": [1]}, "extra": "mine"}
    assert kind.from_json(obj).to_json() == obj


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_is_checked(kind):
    """A field that is missing, null or of the wrong kind is refused by name; optional ones may be absent."""
    for item in fields(kind):
        if item.name == "extra":
            continue
        for wrong in _WRONG[_check(item)]:
            with pytest.raises(BadRecordError, match=f"'{item.name}' in '{kind.TYPE}' record"):
                kind.from_json(_full(kind) | {item.name: wrong})
        for absent in (
            {key: value for key, value in _full(kind).items() if key != item.name},
            _full(kind) | {item.name: None},
        ):
            if item.default is MISSING:
                with pytest.raises(BadRecordError, match=f"without '{item.name}'"):
                    kind.from_json(absent)
            else:
                assert getattr(kind.from_json(absent), item.name) == item.default


@pytest.mark.parametrize(
    "head", [{"type": "other"}, {"type": None}, {"v": 2}, {"v": 1.0}, {"v": True}, {"v": None}]
)
def test_another_type_or_version_is_refused(head):
    """A record says what it is, and in which version."""
    with pytest.raises(BadRecordError):
        Capture.from_json(_full(Capture) | head)


def test_a_text_of_a_stranger_is_quoted_in_part_only():
    """An endless type or version does not make an endless message."""
    with pytest.raises(BadRecordError) as caught:
        Capture.from_json({"type": "x" * 100_000})
    assert len(caught.value.message) < 120


@given(
    st.dictionaries(
        st.sampled_from([*_full(Bundle), "new"]),
        st.none() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_any_object_is_a_record_or_refused(obj):
    """No object makes the reader fail in another way than by BadRecordError."""
    with pytest.raises(BadRecordError):
        Bundle.from_json({"type": "bundle", "v": 1, **obj, "sha256": "short"})


def test_records_do_not_change():
    """A record that crosses a floor is frozen."""
    record = Capture.from_json(_full(Capture))
    with pytest.raises(AttributeError):
        record.sequence = 8
    assert record.begin == _NOW
