"""The kernels of the C extension, held against hashlib over the same nonces."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.adapters.miner import worker
from powdo.adapters.miner.native import NativeMiner, kernels
from powdo.nips.event import Unsigned, event_id
from powdo.nips.pow import difficulty
from powdo.nips.pow_template import TURN, make_template
from tests.parts import need

#: Those of this processor; without the extension one, so that the tests say what they lack.
KERNELS = kernels() or ("scalar",)
_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
_EVENTS = st.builds(
    Unsigned,
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.integers(0, 2**33),
    st.sampled_from((1, 13, 1059, 30078)),
    st.lists(st.lists(_TEXT, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple),
    st.builds(lambda text, times: text * times, _TEXT, st.sampled_from((1, 1, 20, 60))),
)


@pytest.fixture(scope="module")
def miner():
    """Return the C extension."""
    need(bool(kernels()), "the C extension (a C compiler)")
    from powdo import _miner

    return _miner


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=25, deadline=None)
@given(event=_EVENTS, high=st.integers(0, 2**40))
def test_a_kernel_finds_what_hashlib_finds(miner, kernel: str, event: Unsigned, high: int) -> None:
    """Of ten thousand nonces of any event the kernel names those, and only those, whose id has the bits."""
    template = make_template(event, 9)
    high = template.turns.start + high % len(template.turns)
    begun = hashlib.sha256(template.head + str(high).encode())
    found = []
    for low in range(TURN):
        state = begun.copy()
        state.update(b"%04d" % low + template.tail)
        if difficulty(state.hexdigest()) >= 9:
            found.append(high * TURN + low)
    arguments = (template.message, len(template.head), template.digits, template.target, high)
    assert miner.hits(kernel, *arguments) == found
    if found:
        mined = template.mined(found[0])
        assert difficulty(event_id(*mined)) >= 9
        assert mined.tags[-1] == ("nonce", str(found[0]), "9")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bits", [0, 1, 31, 32, 33, 256])
def test_every_number_of_bits_is_counted(miner, kernel: str, bits: int) -> None:
    """No bits take every nonce, and more than a word of them none of ten thousand."""
    template = make_template(Unsigned("a" * 64, 1, 1, (), ""), bits)
    arguments = (template.message, len(template.head), template.digits, bits, template.turns.start)
    found = miner.hits(kernel, *arguments)
    if bits == 0:
        assert found == list(range(template.turns.start * TURN, (template.turns.start + 1) * TURN))
    elif bits == 1:
        assert 4500 < len(found) < 5500
    else:
        assert found == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_word_of_the_digits_may_be_any_of_its_block(miner, kernel: str) -> None:
    """Wherever in a block the last digits lie, and however few blocks follow, the hits are hashlib's."""
    for place in range(0, 132, 4):
        head, tail = b"h" * place + b"1234567", b"t" * (place % 11)
        head = head[: len(head) - (len(head) + 1) % 4]
        message = head + b"0" * 5 + tail
        assert (len(head) + 5) % 4 == 0
        wanted = [
            number
            for number in range(30_000, 40_000)
            if difficulty(hashlib.sha256(head + b"%05d" % number + tail).hexdigest()) >= 8
        ]
        assert miner.hits(kernel, message, len(head), 5, 8, 3) == wanted, place


def test_a_scan_ends_by_its_clock_and_by_either_flag(miner) -> None:
    """Without a hit a scan ends when its time is over, or at once where a flag is set."""
    template = make_template(Unsigned("a" * 64, 1, 1, (), "x" * 5000), 256)
    arguments = (template.message, len(template.head), template.digits, 256, template.turns.start, 1)
    attempts, turns, nonce = miner.scan(kernels()[0], *arguments, 0.02, bytearray(2))
    assert attempts > 0 and nonce == -1
    for flags in (bytearray(b"\x01\x00"), bytearray(b"\x00\x01")):
        attempts, turns, nonce = miner.scan(kernels()[0], *arguments, 3600.0, flags)
        assert (turns, nonce) == (1, -1)
        assert 0 < attempts <= TURN


@pytest.mark.parametrize(
    "arguments",
    [
        ("none", b"x" * 40, 0, 16, 1, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, 1, 16, 1, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, 0, 4, 1, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, 0, 20, 1, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 8, 0, 16, 1, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, -4, 16, 1, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, 0, 16, 257, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, 0, 16, -1, 1, 1, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, 0, 16, 1, 1, 0, 0.1, bytearray(2)),
        ("scalar", b"x" * 40, 0, 16, 1, 1, 1, 0.1, bytearray(1)),
    ],
)
def test_arguments_that_make_no_sense_are_refused(miner, arguments: tuple[object, ...]) -> None:
    """A kernel that is not there, digits that lie badly, impossible bits: ValueError, never a crash."""
    with pytest.raises(ValueError):
        miner.scan(*arguments)


def test_a_scan_stops_at_the_last_nonce_of_its_digits(miner) -> None:
    """Beyond the largest number of so many digits nothing is tried."""
    template = make_template(Unsigned("a" * 64, 1, 1, (), ""), 256)
    last = 10 ** (template.digits - 4) - 2
    arguments = (template.message, len(template.head), template.digits, 256, last, 1)
    assert miner.scan("scalar", *arguments, 60.0, bytearray(2)) == (2 * TURN, 2, -1)


def test_the_worker_and_the_kernels_find_the_same() -> None:
    """The process with hashlib finds the first nonce that the kernels find."""
    template = make_template(Unsigned("a" * 64, 1, 1, (("t", "é"),), "x" * 300), 12)
    first = template.turns.start
    found = worker.scan(template.head, template.tail, template.digits, 12, first, 1, 60.0)
    assert found[2] is not None and template.mined(found[2])
    need(bool(kernels()), "the C extension (a C compiler)")
    for kernel in kernels():
        miner = NativeMiner(kernel, 1)
        assert miner.work(template, first, 60.0).nonce == found[2]
        assert miner.work(template, first, 60.0).attempts == found[0]
        miner.close()
