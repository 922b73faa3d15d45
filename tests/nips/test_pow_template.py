"""What a miner works on: templates, searches, odds."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.nips.event import Unsigned
from powdo.nips.pow import difficulty
from powdo.nips.pow_odds import affordable, expected, likelihood
from powdo.nips.pow_search import FRESH, Search, Slice
from powdo.nips.pow_template import make_template, refreshed, with_nonce, without_nonce

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
_TAGS = st.lists(st.lists(_TEXT, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple)


@given(_TAGS, _TEXT, st.integers(0, 2**33), st.integers(0, 256), st.integers(0))
def test_a_template_is_the_serialization(tags, content: str, created_at: int, target: int, seed: int) -> None:
    """Head, nonce and tail are the JSON of NIP-01 as Python's own encoder writes it."""
    event = Unsigned("ab" * 32, created_at, 1, tags, content)
    template = make_template(event, target)
    nonce = (template.turns.start + seed % len(template.turns)) * 10_000 + seed % 10_000
    assert len(str(nonce)) == template.digits <= 19
    assert nonce < 2**63
    assert (len(template.head) + template.digits) % 4 == 0
    wanted = [*map(list, without_nonce(tags)), ["nonce", str(nonce), str(target)]]
    text = json.dumps(
        [0, "ab" * 32, created_at, 1, wanted, content], separators=(",", ":"), ensure_ascii=False
    )
    written = template.head + str(nonce).encode() + template.tail
    assert written == text.encode()
    blocks = (len(written) + 9 + 63) // 64
    assert template.blocks == blocks - (len(template.head) + template.digits - 4) // 64
    assert len(template.message) == len(written)


def test_old_nonces_go_and_other_tags_keep_their_order() -> None:
    """Whatever nonce tags there were, there is one, and it is the last."""
    event = Unsigned("a" * 64, 1, 1, (("nonce",), ("p", "x"), ("nonce", "1", "2"), ("e", "y")), "")
    assert with_nonce(event, "5", 8).tags == (("p", "x"), ("e", "y"), ("nonce", "5", "8"))


def test_a_hit_that_is_none_is_not_believed() -> None:
    """A kernel that errs is found out before its event leaves."""
    with pytest.raises(ValueError, match="not 200"):
        make_template(Unsigned("a" * 64, 1, 1, (), ""), 200).mined(1234)
    with pytest.raises(ValueError, match="out of range"):
        make_template(Unsigned("a" * 64, 1, 1, (), ""), 257)


def test_a_template_is_dated_anew_unless_its_date_is_one_on_purpose() -> None:
    """Notes are kept fresh; seals and gift wraps keep the date they were given."""
    note, wrap = Unsigned("a" * 64, 1, 1, (), ""), Unsigned("a" * 64, 1, 1059, (), "")
    assert refreshed(make_template(note, 5), 900).event.created_at == 900
    assert refreshed(make_template(wrap, 5), 900).event.created_at == 1
    template = make_template(note, 5)
    assert refreshed(template, 1) is template


def test_a_search_goes_on_where_the_last_slice_ended_and_around() -> None:
    """The next slice begins behind the turns that were used; behind the last comes the first."""
    search = Search(Unsigned("a" * 64, 1000, 1, (), ""), 256, 0)
    template, first = search.work(1000)
    turns = template.turns
    assert first == turns.start
    assert search.took(Slice(7, 3, None)) is None
    assert search.work(1000)[1] == first + 3
    search.took(Slice(7, len(turns) - 2, None))
    assert search.work(1000)[1] == first + 1
    assert search.attempts == 14


def test_a_search_keeps_its_event_fresh() -> None:
    """The date follows the clock when it is a few seconds old, or in the future; without a clock it stays."""
    search = Search(Unsigned("a" * 64, 1000, 1, (), ""), 20, 5)
    assert search.work()[0].event.created_at == 1000
    assert search.work(1000 + FRESH - 1)[0].event.created_at == 1000
    assert search.work(1000 + FRESH)[0].event.created_at == 1000 + FRESH
    assert search.work(900)[0].event.created_at == 900


def test_a_search_gives_out_what_was_found() -> None:
    """A hit becomes the event with that nonce."""
    search = Search(Unsigned("a" * 64, 1000, 1, (), ""), 4, 0)
    template, first = search.work()
    nonce = next(
        number
        for number in range(first * 10_000, first * 10_000 + 1000)
        if difficulty(sha256(template.head + str(number).encode() + template.tail).hexdigest()) >= 4
    )
    mined = search.took(Slice(1, 1, nonce))
    assert mined is not None and mined.tags == (("nonce", str(nonce), "4"),)
    assert difficulty(mined.id) >= 4


def test_odds_have_no_memory() -> None:
    """As many attempts as are expected are enough in 63 % of cases; bits and rates belong together."""
    assert expected(20) == 1048576
    assert likelihood(expected(20), 20) == pytest.approx(0.632, abs=1e-3)
    assert likelihood(0, 20) == 0
    assert affordable(expected(20), 1) == 20
    assert affordable(expected(20), 4) == 22
    assert affordable(0, 10) == 0
