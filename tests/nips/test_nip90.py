"""Answers of a DVM as rumors (NIP-90)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.nips.event import Tags, Unsigned
from powdo.nips.nip90 import KIND, MAX_MISSING, Feedback, Missing

_HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
_MISSING = st.builds(
    lambda device, first, more: Missing(device, first, first + more),
    _TEXTS,
    st.integers(0, 10**14),
    st.integers(0, 10**6),
)
FEEDBACK = st.builds(
    Feedback,
    status=st.sampled_from(["success", "error", "partial"]),
    request=_HASHES,
    author=_HASHES,
    blob=st.none() | _HASHES,
    reason=_TEXTS,
    content=_TEXTS,
    missing=st.lists(_MISSING, max_size=4).map(tuple),
)
DVM = "d0" * 32
TAGS: Tags = (("status", "success"), ("e", "01" * 32), ("p", "02" * 32), ("x", "03" * 32))


@given(FEEDBACK)
def test_an_answer_is_read_as_it_was_written(feedback: Feedback) -> None:
    """Written and read again, an answer is the same."""
    assert Feedback.from_rumor(feedback.to_rumor(DVM, 1)) == feedback


def test_the_tags_are_those_of_nip90() -> None:
    """Status with its reason, the request, its author; x is the blob's hash."""
    rumor = Feedback("error", "01" * 32, "02" * 32, "03" * 32, "too large").to_rumor(DVM, 5)
    assert (rumor.kind, rumor.pubkey, rumor.created_at, rumor.content) == (7000, DVM, 5, "")
    assert rumor.tags == (("status", "error", "too large"), *TAGS[1:])


def _with(*tags: tuple[str, ...], without: str = "") -> Tags:
    return (*(tag for tag in TAGS if tag[0] != without), *tags)


@pytest.mark.parametrize(
    "tags",
    [
        _with(without="status"),
        _with(("status", "error")),
        _with(("status",), without="status"),
        _with(("status", "processing"), without="status"),
        _with(without="e"),
        _with(("e", "04" * 32)),
        _with(("e", "zz" * 32), without="e"),
        _with(without="p"),
        _with(("x", "short"), without="x"),
        _with(("x", "04" * 32)),
        _with(("missing", "box", "2", "1")),
        _with(("missing", "box", "01", "2")),
        _with(("missing", "box", "1")),
        _with(("missing", "box", "-1", "2")),
        _with(*[("missing", "box", "1", "2")] * (MAX_MISSING + 1)),
    ],
)
def test_a_malformed_answer_is_refused(tags: Tags) -> None:
    """A status that ends nothing, a tag that is missing, doubled or malformed make it no answer."""
    with pytest.raises(BadRecordError, match="feedback"):
        Feedback.from_rumor(Unsigned(DVM, 1, KIND, tags, ""))


def test_another_kind_is_no_answer() -> None:
    """Only kind 7000 is one."""
    with pytest.raises(BadRecordError, match="kind 6000"):
        Feedback.from_rumor(Unsigned(DVM, 1, 6000, TAGS, ""))
