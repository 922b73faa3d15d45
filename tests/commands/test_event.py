"""`powdo event`: actions signed in custody."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.database import Store
from powdo.adapters.keystore import Keystore
from powdo.nips.bech32 import decode_npub, encode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.records import encode_line

MASTER = "0f" * 32
BOB = SecretKey(b"\x03" * 32)

Powdo = Any


class Custodian:
    """A folder with the keys of `ana` and `dvm`, and `powdo event` run in it."""

    def __init__(self, world: Path, powdo: Powdo) -> None:
        self.world = world
        self._powdo = powdo
        self.keystore = Keystore(world / "data" / "keystore.json")
        made = self.keystore.create_all(["ana", "dvm"], bytes.fromhex(MASTER))
        self.ana, self.dvm = (decode_npub(record["nostr"]["npub"]) for record in made)

    def run(self, *arguments: str, lines: list[dict[str, Any]] | bytes = b"") -> tuple[int, list[Event], str]:
        """Return status, the events, each verified, and what was said."""
        stdin = lines if isinstance(lines, bytes) else b"".join(map(encode_line, lines))
        done = self._powdo("event", *arguments, stdin=stdin, env={"NSEC_MASTER_KEY": MASTER})
        events = [Event.parse(line) for line in done.stdout.splitlines()]
        for event in events:
            event.verify()
        return done.returncode, events, done.stderr.decode()

    def one(self, *arguments: str, lines: list[dict[str, Any]] | bytes = b"") -> Event:
        """Return the one event that comes out without a word."""
        status, events, said = self.run(*arguments, lines=lines)
        assert (status, len(events), said) == (0, 1, "")
        return events[0]


@pytest.fixture
def custody(own_world: Path, powdo: Powdo) -> Custodian:
    """Return a custodian."""
    return Custodian(own_world, powdo)


# --- one by one --------------------------------------------------------------------------------------


def test_a_profile_is_signed_now_by_the_user(custody: Custodian) -> None:
    """Kind 0 by the key of --user, dated now, and nothing is said."""
    before = int(time.time())
    event = custody.one(
        "profile", "--user", "ana", "--name", "Ana", "--about", "é", "--picture", "https://a/p"
    )
    assert (event.kind, event.pubkey) == (0, custody.ana)
    assert before <= event.created_at <= time.time()
    assert json.loads(event.content) == {"name": "Ana", "about": "é", "picture": "https://a/p"}


def test_a_note_mentions_by_name_or_npub(custody: Custodian) -> None:
    """A mention is a key in custody, an npub or hex; topics are hashtags."""
    npub = encode_npub(BOB.pubkey)
    event = custody.one(
        "note", "--user", "ana", "hi", "--mention", "dvm", "--mention", npub, "--topic", "Café"
    )
    assert (event.kind, event.content) == (1, "hi")
    assert event.tags == (("p", custody.dvm), ("p", BOB.pubkey), ("t", "café"))


@pytest.mark.parametrize("what", ["booking", "shift"])
def test_wall_clock_is_that_of_the_zone(custody: Custodian, what: str) -> None:
    """Start and end are unix seconds of the zone's wall clock, with the zone's name and the UTC days."""
    event = custody.one(
        what, "--user", "dvm", "--title", "Room", "--start", "2026-12-01T23:30", "--end", "2026-12-02T02:00",
        "--timezone", "Europe/Berlin", "--location", "Hall", "--person", "ana",
    )  # fmt: skip
    assert event.kind == 31923
    assert (event.tag("start"), event.tag("end")) == ("1796164200", "1796173200")
    assert event.tag_values("D") == ("20788", "20789")
    assert (event.tag("start_tzid"), event.tag("end_tzid")) == ("Europe/Berlin", "Europe/Berlin")
    assert (event.tag("t"), event.tag("p"), event.tag("location")) == (what, custody.ana, "Hall")
    given = ("--id", "x", "--start", "2026-12-01T22:30:00Z", "--timezone", "UTC")
    event = custody.one(what, "--user", "dvm", "--title", "Room", *given)
    assert (event.tag("d"), event.tag("start"), event.tag("end")) == ("x", "1796164200", None)


def test_lists_take_flags_or_the_configuration(custody: Custodian) -> None:
    """Relay lists and server lists are those given, else those configured."""
    (custody.world / "powdo.toml").write_text(
        '[worker]\nrelays = ["wss://r.example"]\nblossom = ["https://b.example"]\n'
    )
    (custody.world / "powdo.toml").chmod(0o600)
    status, events, _ = custody.run("relays", "--user", "ana")
    assert status == 0
    assert [(event.kind, event.tags) for event in events] == [
        (10002, (("r", "wss://r.example"),)),
        (10050, (("relay", "wss://r.example"),)),
    ]
    assert custody.one("servers", "--user", "ana").tags == (("server", "https://b.example"),)
    given = ("--relay", "wss://a.example", "--read", "wss://b.example", "--write", "wss://c.example")
    assert custody.one("relays", "--user", "ana", *given).tags == (
        ("r", "wss://a.example"),
        ("r", "wss://b.example", "read"),
        ("r", "wss://c.example", "write"),
    )
    event = custody.one(
        "servers", "--user", "ana", "--server", "https://c.example", "--server", "https://d.example"
    )
    assert event.tag_values("server") == ("https://c.example", "https://d.example")


def test_a_deletion_and_a_membership(custody: Custodian) -> None:
    """Kind 5 with ids, addresses and kinds; kind 30078 of oneself or of another."""
    address = f"30078:{custody.ana}:chb:reward"
    event = custody.one("delete", "--user", "ana", "ab" * 32, address, "--kind", "1", "--reason", "oops")
    assert (event.kind, event.content) == (5, "oops")
    assert event.tags == (("e", "ab" * 32), ("a", address), ("k", "1"), ("k", "30078"))
    own = custody.one("membership", "--user", "ana", "--since", "2026-01-01T00:00:00Z")
    assert (own.kind, own.tag("d")) == (30078, "chb:membership")
    assert json.loads(own.content) == {"status": "active", "since": 1767225600}
    other = custody.one("membership", "--user", "dvm", "--member", "ana", "--status", "ended", "--role", "x")
    assert (other.tag("d"), other.tag("p")) == (f"chb:membership:{custody.ana}", custody.ana)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("profile", "--user", "ana"), "the profile says nothing"),
        (("profile", "--name", "x"), "nobody is to sign"),
        (("note", "--user", "ana"), "the note says nothing"),
        (("note", "--user", "ana", "x", "--mention", "nobody"), "nobody is known by that name"),
        (("shift", "--user", "ana", "--title", "x"), "the shift has no start"),
        (("shift", "--user", "ana", "--start", "now"), "the shift has no title"),
        (("shift", "--user", "ana", "--title", "x", "--start", "soon"), "'soon' is not a time"),
        (
            ("shift", "--user", "ana", "--title", "x", "--start", "now", "--timezone", "Mars"),
            "not a time zone",
        ),
        (
            ("booking", "--user", "ana", "--title", "x", "--start", "now", "--end", "yesterday"),
            "must end after",
        ),
        (("relays", "--user", "ana", "--relay", "https://x.example"), "https://x.example"),
        (("servers", "--user", "ana", "--server", "http://x.example"), "http://x.example"),
        (("delete", "--user", "ana"), "nothing to delete"),
        (("delete", "--user", "ana", "x"), "names no event"),
        (("reward", "--user", "ana"), "there is no amount"),
        (("reward", "--user", "ana", "--amount", "-1"), "not a number from 0"),
        (("reward", "--user", "ana", "--amount", "NaN"), "not a number from 0"),
        (("reward", "--user", "ana", "--rate", "many"), "not a number from 0"),
        (("reward", "--user", "ana", "--rate", "1", "--to", "dvm"), "--to makes no sense with --rate"),
        (("reward", "--user", "ana", "--amount", "1", "--period", "day"), "--period makes no sense without"),
        (("reward", "--user", "ana", "--amount", "1", "file"), "FILE makes no sense without --rate"),
        (("sign",), "nobody is to sign"),
    ],
)
def test_flags_that_make_no_event_are_refused(
    custody: Custodian, arguments: tuple[str, ...], told: str
) -> None:
    """Status 2, what is wrong, and nothing on stdout."""
    status, events, said = custody.run(*arguments)
    assert (status, events) == (2, [])
    assert told in said


def test_an_nsec_where_a_person_is_due_is_not_repeated(custody: Custodian) -> None:
    """A secret given by mistake does not stand in the message."""
    nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
    for arguments in (("--to", nsec, "--user", "ana"), ("--to", "ana", "--user", nsec)):
        status, events, said = custody.run("reward", "--amount", "1", *arguments)
        assert (status in (2, 77), events) == (True, [])
        assert nsec not in said


# --- templates ---------------------------------------------------------------------------------------


def test_templates_make_an_event_a_line(custody: Custodian) -> None:
    """Fields by their names, flags for what is missing, another user a line, and whole events."""
    lines = [
        {"name": "Ana"},
        {"user": "dvm", "name": "The DVM"},
        {"kind": 0, "content": "{}", "created_at": 7},
    ]
    status, events, said = custody.run("profile", "--stdin", "--user", "ana", "--about", "us", lines=lines)
    assert (status, said) == (0, "")
    assert [(event.pubkey, event.content) for event in events] == [
        (custody.ana, '{"about":"us","name":"Ana"}'),
        (custody.dvm, '{"about":"us","name":"The DVM"}'),
        (custody.ana, "{}"),
    ]
    assert events[2].created_at == 7
    shift = {"title": "x", "start": 1796164200, "end-timezone": "UTC", "timezone": "UTC", "person": "dvm"}
    event = custody.one("shift", "--stdin", "--user", "ana", lines=[shift])
    assert (event.tag("start"), event.tag("p")) == ("1796164200", custody.dvm)
    event = custody.one("reward", "--stdin", "--user", "ana", lines=[{"amount": 2.5, "to": "dvm"}])
    assert event.tag("amount") == "2.5"
    event = custody.one("delete", "--stdin", "--user", "ana", lines=[{"target": ["ab" * 32], "kind": 1}])
    assert event.tags == (("e", "ab" * 32), ("k", "1"))


def test_bad_templates_are_told_and_the_others_go_on(custody: Custodian) -> None:
    """Each with its number: no such field, wrong type, no such user, another kind, no JSON."""
    lines = b"".join(
        map(
            encode_line,
            [
                {"naem": "x"},
                {"name": 5},
                {"user": "nobody", "name": "x"},
                {"user": 5, "name": "x"},
                {"kind": 1, "content": "x"},
                {"kind": 0, "content": "{}", "pubkey": BOB.pubkey},
                {"name": "good"},
            ],
        )
    )
    status, events, said = custody.run("profile", "--stdin", "--user", "ana", lines=lines + b"nonsense\n")
    assert status == 65
    assert [event.content for event in events] == ['{"name":"good"}']
    told = [line for line in said.splitlines() if "error" in line]
    assert [line.split(": ")[2] for line in told] == [f"line {number}" for number in (1, 2, 3, 4, 5, 6, 8)]
    assert "known are name, about, picture" in said
    assert custody.run("profile", "--stdin", "--user", "ana") == (0, [], "")


# --- sign --------------------------------------------------------------------------------------------


def test_any_event_is_signed(custody: Custodian, tmp_path: Path) -> None:
    """What is missing is filled in, what is there is kept; a file serves as well as stdin."""
    event = custody.one(
        "sign", "--user", "ana", lines=[{"kind": 30023, "content": "x", "tags": [["d", "é"]]}]
    )
    assert (event.kind, event.tags, event.pubkey) == (30023, (("d", "é"),), custody.ana)
    whole = {"kind": 1, "content": "x", "tags": [], "created_at": 5, "pubkey": custody.ana}
    (tmp_path / "event").write_bytes(encode_line(whole))
    event = custody.one("sign", "--user", "ana", str(tmp_path / "event"))
    assert event.created_at == 5
    again = {key: value for key, value in event.to_json().items() if key != "sig"}
    assert custody.one("sign", "--user", "ana", lines=[again]).id == event.id


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sig": "00" * 64}, "signed already"),
        ({"pubkey": BOB.pubkey}, "somebody else"),
        ({"id": "00" * 32}, "wrong id"),
        ({"kind": 14}, "never signed"),
        ({"kind": "1"}, "must be an integer"),
        ({"content": None}, "must be a string"),
        ({"tags": [[]]}, "a tag must be"),
    ],
)
def test_what_must_not_be_signed_is_refused(custody: Custodian, change: dict[str, Any], told: str) -> None:
    """Status 65 with the reason, and the next line is signed."""
    good = {"kind": 1, "content": "x"}
    status, events, said = custody.run("sign", "--user", "ana", lines=[good | change, good])
    assert (status, len(events)) == (65, 1)
    assert told in said


# --- keys --------------------------------------------------------------------------------------------


def test_a_first_action_may_make_the_key(custody: Custodian) -> None:
    """Without a key status 77 and how to make one; with --create-key it is made, once."""
    status, events, said = custody.run("note", "--user", "zoe", "hi")
    assert (status, events) == (77, [])
    assert "powdo keys new zoe" in said
    first = custody.one("note", "--user", "zoe", "--create-key", "hi")
    assert custody.one("note", "--user", "zoe", "--create-key", "again").pubkey == first.pubkey
    assert encode_npub(first.pubkey) == custody.keystore.get("zoe")["nostr"]["npub"]


def test_a_deleted_key_signs_nothing(custody: Custodian) -> None:
    """It is told, and no new key is made in its place."""
    custody.keystore.delete("ana")
    for flags in ((), ("--create-key",)):
        status, events, said = custody.run("note", "--user", "ana", "hi", *flags)
        assert (status, events) == (77, [])
        assert "the key of 'ana' was deleted" in said


def test_signing_as_the_hidden_identity_is_warned_of(custody: Custodian) -> None:
    """A worker's identity is known to the DVM only: who signs with it in public is told."""
    (custody.world / "powdo.toml").write_text('[identity]\nuser = "ana"\naccess_user = "ana-access"\n')
    (custody.world / "powdo.toml").chmod(0o600)
    status, events, said = custody.run("note", "--user", "ana", "hi")
    assert (status, len(events)) == (0, 1)
    assert "warning: 'ana' is the identity" in said


# --- rewards from tracked time -----------------------------------------------------------------------


def sheet(begin: str, seconds: int, user: str = "ana", **more: Any) -> dict[str, Any]:
    """Return a timesheet record."""
    return {
        "type": "timesheet", "v": 1, "begin": begin, "end": begin[:11] + "23:59:59Z", "seconds": seconds,
        "user": user, "project": "Shop", "activity": "Development", "source": "rules", "algorithm": "1",
    } | more  # fmt: skip


NOVEMBER = [
    sheet("2026-11-02T08:00:00Z", 5400),
    sheet("2026-11-03T08:00:00Z", 1800),
    sheet("2026-11-03T08:00:00Z", 3600, user="dvm"),
]
COUNT = ("reward", "--user", "dvm", "--rate", "1.5", "--unit", "h")


def test_a_reward_is_counted_for_each_worker_and_period(custody: Custodian) -> None:
    """One event each, with period, seconds, rate and amount, addressed to the worker's key."""
    status, events, said = custody.run(
        *COUNT, lines=[*NOVEMBER, NOVEMBER[0], sheet("2026-12-01T08:00:00Z", 60)]
    )
    assert (status, said) == (0, "")
    assert [(event.tag("d"), event.tag("p")) for event in events] == [
        (f"chb:reward:2026-11:{custody.ana}", custody.ana),
        (f"chb:reward:2026-12:{custody.ana}", custody.ana),
        (f"chb:reward:2026-11:{custody.dvm}", custody.dvm),
    ]
    assert {(event.kind, event.pubkey) for event in events} == {(30078, custody.dvm)}
    assert json.loads(events[0].content) == {
        "amount": "3.00",
        "unit": "h",
        "period": "2026-11",
        "seconds": 7200,
        "rate": "1.5",
    }
    assert ("amount", "3.00", "h") in events[0].tags


def test_the_same_count_is_the_same_event(custody: Custodian) -> None:
    """Nothing new: the very same event. Something new: a later one of the same address, however soon."""
    first = custody.run(*COUNT, lines=NOVEMBER)[1]
    assert custody.run(*COUNT, lines=NOVEMBER[::-1])[1] == first
    more = custody.run(*COUNT, lines=[*NOVEMBER, sheet("2026-11-04T08:00:00Z", 60)])[1]
    assert [event.tag("d") for event in more] == [event.tag("d") for event in first]
    assert more[0].created_at > first[0].created_at
    assert more[1] == first[1]
    back = custody.run(*COUNT, lines=NOVEMBER)[1]
    assert back[0].content == first[0].content
    assert back[0].created_at > more[0].created_at


def test_a_part_of_the_timesheets_makes_no_reward(custody: Custodian, tmp_path: Path) -> None:
    """A bad line, a cut-off stream or a worker without a key: nothing is written."""
    good = b"".join(map(encode_line, NOVEMBER))
    for lines, status, told in (
        (good + b"{}\n", 65, "line 4: expected a 'timesheet' record"),
        (good + b'{"type":"time', 65, "line 4: input ends within a record"),
        (good + encode_line(sheet("2026-11-02T08:00:00Z", 5, end="2026-11-01T00:00:00Z")), 65, "ends before"),
        (
            good + encode_line(sheet("2026-11-02T08:00:00Z", 5, user="zoe")),
            77,
            "worker 'zoe' has no public key",
        ),
    ):
        found = custody.run(*COUNT, lines=lines)
        assert (found[0], found[1]) == (status, [])
        assert told in found[2]
    assert custody.run(*COUNT) == (0, [], "")
    assert custody.run(*COUNT, str(tmp_path / "none"))[0] == 65


def test_a_worker_is_named_by_the_access_key_never_the_identity(custody: Custodian) -> None:
    """The access key of who is enrolled counts; an identity alone is not published."""
    store = Store(f"sqlite:///{custody.world / 'state' / 'dvm.sqlite'}")
    identity, access = SecretKey(b"\x04" * 32).pubkey, SecretKey(b"\x05" * 32).pubkey
    store.enroll("carl", pubkeys=[identity])
    status, events, _ = custody.run(*COUNT, lines=[sheet("2026-11-02T08:00:00Z", 60, user="carl")])
    assert (status, events) == (77, [])
    store.enroll("carl", access=[access])
    store.close()
    event = custody.one(*COUNT, lines=[sheet("2026-11-02T08:00:00Z", 60, user="carl")])
    assert event.tag("p") == access
    assert identity not in json.dumps(event.to_json())


def test_periods_begin_where_the_zone_says(custody: Custodian) -> None:
    """Half past eleven in the evening UTC is the next month in Berlin."""
    lines = [sheet("2026-10-31T23:30:00Z", 60, end="2026-11-01T00:30:00Z")]
    assert "2026-10" in str(custody.one(*COUNT, lines=lines).tag("d"))
    assert "2026-11" in str(custody.one(*COUNT, "--timezone", "Europe/Berlin", lines=lines).tag("d"))
    assert "2026-W44" in str(custody.one(*COUNT, "--period", "week", lines=lines).tag("d"))


@pytest.mark.parametrize(
    ("action", "template"),
    [
        ("booking", b'{"title":"x","start":99999999999999999999}'),
        ("shift", b'{"title":"x","start":-99999999999999}'),
        ("booking", b'{"title":"x","start":"2026-01-01T09:00:00Z","id":"\\ud800"}'),
        ("booking", b'{"title":"\\ud800","start":"2026-01-01T09:00:00Z"}'),
        ("membership", b'{"status":"active","since":99999999999999999999}'),
    ],
)
def test_no_template_ends_the_others(custody: Custodian, action: str, template: bytes) -> None:
    """A time outside the calendar, or half a character, is a bad line; the next one is signed."""
    good = {
        "membership": b'{"status":"ended","since":5}',
        "booking": b'{"title":"y","start":5}',
        "shift": b'{"title":"y","start":5}',
    }
    status, events, said = custody.run(
        action, "--user", "dvm", "--stdin", lines=b"%s\n%s\n" % (template, good[action])
    )
    assert (status, len(events)) == (65, 1) and "line 1: " in said, said
