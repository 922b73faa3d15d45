"""The sizes a bundle may have."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.bundle_format import FLOOR, OUTER_OVERHEAD, padding_for, padme

LENGTHS = st.integers(0, 1 << 34)


@given(LENGTHS)
def test_a_padme_size_is_little_more_and_stays(length: int) -> None:
    """Padding adds at most 3.2 % above the floor, and a padded size is its own."""
    padded = padme(length)
    assert padded >= max(length, FLOOR)
    assert length < FLOOR or padded <= length * 1.032
    assert padme(padded) == padded


@given(LENGTHS, LENGTHS)
def test_padme_keeps_the_order(one: int, other: int) -> None:
    """A larger bundle never has a smaller size."""
    assert padme(min(one, other)) <= padme(max(one, other))


@given(st.integers(FLOOR, 1 << 34))
def test_padme_is_that_of_its_paper(length: int) -> None:
    """Only the leading bits of a length stay: as many as the exponent's own length."""
    exponent = math.floor(math.log2(length)) if length < 1 << 40 else 0
    last = exponent - (math.floor(math.log2(exponent)) + 1)
    assert padme(length) == math.ceil(length / (1 << last)) * (1 << last)


def test_the_sizes_that_were_measured() -> None:
    """Known lengths have the known sizes, and an octave has 32 of them."""
    assert padme(1) == FLOOR == 65536
    assert padme(290_000) == 294_912
    assert padme(19_900_000) == 19_922_944
    assert len({padme(length) for length in range(1 << 17, 1 << 18, 64)}) == 33  # both ends counted
    assert OUTER_OVERHEAD == 168


@given(st.integers(0, 1 << 30), st.integers(0, 50))
def test_padding_fills_the_outer_length(offset: int, count: int) -> None:
    """Members, directory, padding and overhead together have a Padmé size."""
    names = [f"buckets/{number}.jsonl" for number in range(count)]
    padding = padding_for(offset, names)
    directory = sum(46 + len(name) for name in (*names, ".padding")) + 22
    total = OUTER_OVERHEAD + offset + 30 + len(".padding") + padding + directory
    assert padding >= 0
    assert padme(total) == total
