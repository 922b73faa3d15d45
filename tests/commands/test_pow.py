"""powdo pow mine, check and bench as processes."""

from __future__ import annotations

import json
import signal
import time

import pytest

from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign
from powdo.nips.pow import check, committed, difficulty

_KEY = SecretKey(b"\x07" * 32)


def line(**fields: object) -> bytes:
    """Return an unsigned event as a line."""
    base = {"pubkey": "ab" * 32, "kind": 1, "tags": [], "content": "hello"}
    return json.dumps(base | fields).encode() + b"\n"


def records(output: bytes) -> list[dict]:
    """Return the records in *output*."""
    return [json.loads(text) for text in output.splitlines()]


@pytest.fixture
def ana(powdo) -> str:
    """Return the pubkey of a worker's identity in custody."""
    assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", f"{1:064x}").returncode == 0
    return powdo("keys", "show", "--hex", "ana").stdout.decode().strip()


def test_events_are_mined_in_their_order(powdo):
    """Events come out with nonce and id, without a signature, old nonces gone, each after the other."""
    old = [["nonce", "5", "40"], ["t", "é"]]
    done = powdo("pow", "mine", "--target", "10", stdin=line(tags=old) + line(content="b", created_at=5))
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    one, two = records(done.stdout)
    for record in (one, two):
        assert "sig" not in record
        event = Unsigned.from_json(record)
        assert difficulty(event.id) >= 10 == committed(event.tags)
        assert abs(event.created_at - time.time()) < 60
    assert one["tags"][0] == ["t", "é"] and len(one["tags"]) == 2
    assert two["content"] == "b"


def test_a_signed_event_loses_its_signature_and_must_have_had_a_right_one(powdo):
    """A signature cannot cover a nonce that is yet to be found; a wrong one is not mined over."""
    event = sign(Unsigned(_KEY.pubkey, 1000, 1059, (("p", "a" * 64),), "x"), _KEY, b"\0" * 32)
    forged = event._replace(sig="00" * 64)
    lines = [json.dumps(item.to_json()).encode() + b"\n" for item in (event, forged)]
    done = powdo("pow", "mine", "--target", "8", stdin=b"".join(lines))
    assert done.returncode == 76
    assert b"line 2" in done.stderr and b"signature" in done.stderr
    (record,) = records(done.stdout)
    assert "sig" not in record and record["created_at"] == 1000
    assert record["tags"][0] == ["p", "a" * 64]


def test_what_is_mined_is_signed_by_its_author_only(powdo, ana: str):
    """--user fills in the author and signs; another's event is refused and the rest go on."""
    minimal = b'{"kind":1,"tags":[],"content":"mine"}\n'
    done = powdo("pow", "mine", "--target", "8", "--user", "ana", stdin=line() + minimal)
    assert done.returncode == 65
    assert b"line 1" in done.stderr and b"somebody else" in done.stderr
    (record,) = records(done.stdout)
    event = Event.from_json(record)
    event.verify()
    assert event.pubkey == ana and check(event, 8)


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (b"{}\n", 65, b"no pubkey"),
        (line(kind="1"), 65, b"kind"),
        (line(id="0" * 64), 65, b"wrong id"),
        (line(content=7), 65, b"content"),
        (b"nonsense\n", 65, b"line 1"),
        (line()[:-5], 65, b"within a record"),
    ],
)
def test_what_is_no_event_is_told_with_its_line(powdo, text: bytes, status: int, told: bytes):
    """A bad line costs itself only."""
    done = powdo("pow", "mine", "--target", "4", stdin=text)
    assert (done.returncode, done.stdout) == (status, b"")
    assert told in done.stderr


def test_an_event_that_takes_too_long_is_given_up(powdo):
    """With --timeout the search ends with status 75, nothing written, and the next event has its turn."""
    done = powdo("pow", "mine", "--target", "100", "--timeout", "0.2", stdin=line() + line())
    assert (done.returncode, done.stdout) == (75, b"")
    assert done.stderr.count(b"no proof of 100 bits within 0.2 s") == 2


def test_a_signal_ends_it_with_nothing_half_written(powdo):
    """Ctrl-C while it mines: the process dies of the signal, and stdout holds whole events only."""
    with powdo.start("pow", "mine", "-vv", "--target", "120") as process:
        process.stdin.write(line())
        process.stdin.flush()
        while b"mining with" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stdout.read() == b""


def test_a_kernel_that_is_not_there_is_told(powdo):
    """An unknown kernel is status 78, with those that there are."""
    done = powdo("pow", "mine", "--target", "4", "--kernel", "gpu", stdin=line())
    assert done.returncode == 78
    assert b"hint: there are: " in done.stderr and b"hashlib" in done.stderr


def test_niceness_and_threads(powdo):
    """One core and low priority mine as well."""
    done = powdo("pow", "mine", "--target", "8", "--threads", "1", "--nice", "19", stdin=line())
    assert done.returncode == 0 and len(records(done.stdout)) == 1


# --- check ---


def mined(powdo, target: int, **fields: object) -> bytes:
    """Return a mined event as a line."""
    done = powdo("pow", "mine", "--target", str(target), stdin=line(**fields))
    assert done.returncode == 0
    return done.stdout


def test_check_tells_bits_and_target(powdo):
    """Every event is shown with its bits and the target it commits to; all valid is status 0."""
    done = powdo("pow", "check", "--json", stdin=mined(powdo, 12) + line(created_at=1))
    assert done.returncode == 0, done.stderr
    one, two = records(done.stdout)
    assert one["bits"] >= 12 and one["target"] == 12 and one["valid"] is True
    assert two["target"] is None and two["valid"] is True
    table = powdo("pow", "check", stdin=mined(powdo, 4))
    assert table.stdout.split()[:4] == [b"id", b"bits", b"target", b"valid"]


def test_check_fails_below_the_minimum(powdo):
    """Too few bits, a target below the minimum, or none at all is status 65, with the line."""
    enough, low, none = mined(powdo, 12), mined(powdo, 4), line(created_at=1)
    broken = enough.replace(b"hello", b"hallo")
    done = powdo("pow", "check", "--min", "12", "--json", stdin=enough + low + none + broken)
    assert done.returncode == 65
    assert [row["valid"] for row in records(done.stdout)] == [True, False, False, False]
    for text in (
        b"line 2: event",
        b"commits to 4 bits, not 12",
        b"commits to no target",
        b"line 4: event",
        b"id is wrong",
    ):
        assert text in done.stderr
    assert powdo("pow", "check", "--min", "12", stdin=enough).returncode == 0


def test_check_looks_at_the_signature_there_is(powdo, ana: str):
    """A signed event with a wrong signature is not valid, whatever its bits."""
    done = powdo("pow", "mine", "--target", "8", "--user", "ana", stdin=line(pubkey=ana))
    assert powdo("pow", "check", "--min", "8", stdin=done.stdout).returncode == 0
    (record,) = records(done.stdout)
    forged = json.dumps(record | {"sig": "0" * 128}).encode() + b"\n"
    wrong = powdo("pow", "check", stdin=forged)
    assert wrong.returncode == 65 and b"signature is wrong" in wrong.stderr


# --- bench ---


def test_bench_tells_rates_and_what_they_buy(powdo):
    """Each kernel and size has a rate; ten seconds buy 3.3 bits more than one."""
    done = powdo("pow", "bench", "--seconds", "0.02", "--kernel", "hashlib", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = records(done.stdout)
    assert [row["bytes"] for row in rows] == [300, 1024, 2560, 8192, 65536]
    for row in rows:
        assert row["kernel"] == "hashlib" and row["threads"] == 1 and row["rate"] > 0
        assert row["bits_10s"] - row["bits_1s"] == pytest.approx(3.3, abs=0.11)
    assert [row["blocks"] for row in rows] == sorted(row["blocks"] for row in rows)
    table = powdo("pow", "bench", "--seconds", "0.02", "--kernel", "hashlib")
    assert table.stdout.split()[:3] == [b"kernel", b"threads", b"bytes"]
