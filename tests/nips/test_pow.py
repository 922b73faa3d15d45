"""Proof of work on events (NIP-13)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.nips.event import Event, Tags
from powdo.nips.pow import check, committed, difficulty


@pytest.mark.parametrize(
    ("event_id", "bits"),
    [
        ("000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d", 36),
        ("6bf5b4f434813c64b523d2b0e6efe18f3bd0cbbd0a5effd8ece9e00fd2531996", 1),
        ("00003479309ecdb46b1c04ce129d2709378518588bed6776e60474ebde3159ae", 18),
        ("f" * 64, 0),
        ("0" * 64, 256),
        ("0" * 63 + "1", 255),
    ],
)
def test_difficulty(event_id: str, bits: int) -> None:
    """Leading zero bits are counted to the last one."""
    assert difficulty(event_id) == bits


@given(st.integers(0, 2**256 - 1))
def test_difficulty_is_that_of_the_bits(number: int) -> None:
    """The count agrees with the binary digits."""
    digits = f"{number:0256b}"
    assert difficulty(f"{number:064x}") == len(digits) - len(digits.lstrip("0"))


@pytest.mark.parametrize(
    ("tags", "target"),
    [
        ((("nonce", "776797", "20"),), 20),
        ((("t", "x"), ("nonce", "1", "020", "y")), 20),
        ((), None),
        ((("nonce", "1"),), None),
        ((("nonce",),), None),
        ((("nonce", "1", "-5"),), None),
        ((("nonce", "1", "1e3"),), None),
        ((("nonce", "1", "²"),), None),
        ((("nonce", "1", "9" * 5000),), None),
        ((("nonce", "1", "5"), ("nonce", "1", "20")), 5),
    ],
)
def test_committed_target(tags: Tags, target: int | None) -> None:
    """The first nonce tag commits, and only to a plain number."""
    assert committed(tags) == target


@pytest.mark.parametrize(
    ("zeros", "tags", "minimum", "enough"),
    [
        (20, (("nonce", "1", "20"),), 20, True),
        (24, (("nonce", "1", "20"),), 20, True),
        (16, (("nonce", "1", "20"),), 20, False),
        (24, (("nonce", "1", "16"),), 20, False),
        (24, (), 20, False),
        (0, (), 0, True),
    ],
)
def test_check(zeros: int, tags: Tags, minimum: int, enough: bool) -> None:
    """Both the bits and the committed target must reach the minimum; luck does not count."""
    event = Event("0" * (zeros // 4) + "f" * (64 - zeros // 4), "a" * 64, 1, 1, tags, "", "0" * 128)
    assert check(event, minimum) is enough
