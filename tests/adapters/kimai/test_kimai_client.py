"""`powdo.adapters.kimai`: the token, statuses, paging, tags, names and instants, against the double."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from powdo.adapters.kimai.catalogue import Catalogue
from powdo.adapters.kimai.client import Answer, Client, Refusal, refusal
from powdo.adapters.kimai.timesheets import Timesheets
from powdo.errors import KeyRejectedError, PeerProtocolError, RefusedError, RetryLaterError
from powdo.worktime.intervals import MINUTE, SECOND, Interval
from powdo.worktime.reconcile import Listed, Wanted
from tests.kimai_double import Double, Fault, Row

_DAY = datetime(2026, 11, 16, tzinfo=UTC)
_START = int(_DAY.timestamp()) * SECOND
_WEEK = Interval(_START - 7 * 86_400 * SECOND, _START + 7 * 86_400 * SECOND)


@pytest.fixture
def double() -> Iterator[Double]:
    """Yield a seeded double."""
    with Double() as made:
        made.kimai.seed()
        yield made


class Told(list[str]):
    """What a client warned of."""

    def __call__(self, text: str, hint: str | None) -> None:
        self.append(text)


@pytest.fixture
def told() -> Told:
    """Return a list of warnings."""
    return Told()


@pytest.fixture
def client(double: Double, told: Told) -> Iterator[Client]:
    """Yield alice's client."""
    made = Client(double.url + "/", "alice", timeout=2, warn=told)
    yield made
    made.close()


_FORBIDDEN = Refusal(403, frozenset(), "Forbidden")


def _made(outcome: Listed | Refusal) -> Listed:
    assert isinstance(outcome, Listed)
    return outcome


def _want(begin: int = 0, minutes: int = 60, **values: object) -> Wanted:
    known: dict[str, object] = {
        "begin": _START + begin * MINUTE, "end": _START + (begin + minutes) * MINUTE, "user": 4, "project": 1,
        "activity": 1, "tags": (), "description": "d", "billable": None,
    }  # fmt: skip
    return Wanted(**(known | values))  # type: ignore[arg-type]  # of the right kinds


def _rows(double: Double, number: int) -> None:
    for at in range(1, number + 1):
        begin = _DAY + timedelta(minutes=at)
        double.kimai.rows[at] = Row(
            at, 4, 1, 1, begin, begin + timedelta(minutes=1), "Europe/Berlin", f"d{at}"
        )
    double.kimai.last = number


def test_introduces_itself(client: Client, double: Double) -> None:
    """At the start version, account and configuration are asked for, with `Bearer` and no trailing slash."""
    assert (client.account.id, str(client.account.zone), client.account.version) == (
        4,
        "Europe/Berlin",
        "2.65.0",
    )
    assert [call.path for call in double.calls] == ["/api/version", "/api/users/me", "/api/config/timesheet"]
    assert {call.authorization for call in double.calls} == {"Bearer alice"}


def test_warns_of_a_tracking_mode(double: Double, told: Told) -> None:
    """A tracking mode in which plain users cannot send times is told at the start."""
    double.kimai.tracking_mode = "punch"
    Client(double.url, "alice", timeout=2, warn=told).close()
    assert "tracking mode is 'punch'" in told[0]


@pytest.mark.parametrize(
    ("token", "words"), [("nobody", "rejects the token"), ("alice", "forbids GET /version")]
)
def test_a_token_that_does_not_work(double: Double, told: Told, token: str, words: str) -> None:
    """A bad token and one without API access end with `key rejected`."""
    double.kimai.users["alice"].api_access = False
    with pytest.raises(KeyRejectedError, match=words):
        Client(double.url, token, timeout=2, warn=told)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "tökén"])
def test_a_token_that_cannot_be_sent(double: Double, told: Told, token: str) -> None:
    """A token that would break the header is refused before any request."""
    with pytest.raises(KeyRejectedError):
        Client(double.url, token, timeout=2, warn=told)
    assert not double.calls


def test_netrc_and_proxies_are_ignored(
    double: Double, told: Told, own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ~/.netrc nor a proxy variable gets between the token and Kimai."""
    netrc = own_world / "home" / ".netrc"
    netrc.write_text("machine 127.0.0.1 login x password y\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    Client(double.url, "alice", timeout=2, warn=told).close()
    assert double.calls[0].authorization == "Bearer alice"


def test_a_redirect_is_not_followed(double: Double, client: Client) -> None:
    """The token is never sent where a redirect points to."""
    with Double() as other:
        double.redirect = other.url
        with pytest.raises(PeerProtocolError, match="redirects"):
            client.call("GET", "/ping")
        assert not other.calls


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_pass_is_for_a_later_run(double: Double, client: Client, status: int) -> None:
    """429 and 5xx are `retry later`."""
    double.faults.append(Fault("fail", "GET", status=status))
    with pytest.raises(RetryLaterError, match=str(status)):
        client.call("GET", "/ping")


def test_a_silent_or_absent_kimai(double: Double, told: Told) -> None:
    """A Kimai that is slow or not there is `retry later`, with the reason."""
    client = Client(double.url, "alice", timeout=0.3, warn=told)
    double.faults.append(Fault("delay", "GET", seconds=1.0))
    with pytest.raises(RetryLaterError, match="timed out"):
        client.call("GET", "/ping")
    client.close()
    with pytest.raises(RetryLaterError, match="connection refused"):
        Client("http://127.0.0.1:9", "alice", timeout=2, warn=told)


@contextmanager
def _stranger(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Yield the address of a server where *answer* answers each GET."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            answer(self)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"id":"x"}', b"\xff", b"[" * 100_000])
def test_a_server_that_is_no_kimai(told: Told, answer: bytes) -> None:
    """Whatever a stranger answers is told as a protocol error, not as a traceback."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    with _stranger(send) as url, pytest.raises(RetryLaterError):
        Client(url, "t", timeout=2, warn=told)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_sends_in_drops(told: Told, start: bytes) -> None:
    """A peer that keeps each single wait short, in headers or body, is given up as a whole."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        with suppress(OSError):
            while True:
                handler.wfile.write(b"1")
                time.sleep(0.05)

    begin = time.monotonic()
    with _stranger(send) as url, pytest.raises(RetryLaterError, match="timed out"):
        Client(url, "t", timeout=0.2, warn=told)
    assert time.monotonic() - begin < 5


def test_a_server_that_never_ends(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer longer than any of Kimai's is not read to its end."""
    monkeypatch.setattr("powdo.adapters.kimai.client.MAX_ANSWER", 1 << 20)

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                handler.wfile.write(b" " * 65536)

    with _stranger(send) as url, pytest.raises(RetryLaterError, match="more than 1048576 bytes"):
        Client(url, "t", timeout=5, warn=told)


def test_pages_are_read_to_the_last(double: Double, client: Client) -> None:
    """More timesheets than a page holds come in as many requests as there are pages."""
    _rows(double, 1001)
    assert len(Timesheets(client).listing(_WEEK, 4)) == 1001
    assert double.count("GET", "/api/timesheets") == 3


def test_a_window_is_in_the_owners_zone(double: Double, client: Client) -> None:
    """The edges of a listing are instants, though Kimai wants wall time."""
    _rows(double, 3)
    found = Timesheets(client).listing(Interval(_START + 2 * MINUTE, _START + 2 * MINUTE), 4)
    assert list(found) == [2]


def test_filters_that_kimai_ignores_are_applied(double: Double, client: Client) -> None:
    """A user filter that the token may not use gives nobody else's timesheets."""
    _rows(double, 3)
    assert Timesheets(client).listing(_WEEK, 5) == {}


def test_long_descriptions_keep_their_marker(double: Double, client: Client) -> None:
    """A description is cut to the bytes that Kimai holds; the marker stays and is found."""
    timesheets = Timesheets(client)
    listed = _made(timesheets.create(_want(description="ä€😀" * 20_000), "powdo-00000001", ()))
    assert len(listed.description.encode()) <= 65_535
    assert listed.description.endswith("[powdo-00000001]")
    found = timesheets.find("powdo-00000001", 4)
    assert found is not None and found.id == listed.id


def test_only_an_exact_marker_is_a_find(double: Double, client: Client) -> None:
    """Kimai's substring search is checked again: another marker or another place in the text is no find."""
    _rows(double, 3)
    double.kimai.rows[1].description = "see powdo-00000001"
    double.kimai.rows[2].description = "x [powdo-000000012]"
    timesheets = Timesheets(client)
    assert timesheets.find("powdo-00000001", 4) is None
    double.kimai.rows[3].description = "x [powdo-00000001]"
    found = timesheets.find("powdo-00000001", 4)
    assert found is not None and found.id == 3


def test_only_needed_fields_are_sent(double: Double, client: Client) -> None:
    """A plain user's POST has neither `user` nor `billable`; a PATCH never names the project."""
    timesheets = Timesheets(client)
    listed = _made(timesheets.create(_want(), "powdo-00000001", ("powdo",)))
    assert set(double.calls[-1].body) == {"begin", "end", "project", "activity", "description", "tags"}
    double.kimai.projects[1]["end"] = "2026-01-31"  # ended since; what is there may still be changed
    assert isinstance(timesheets.update(listed.id, _want(minutes=30), "powdo-00000001", ()), Listed)
    assert set(double.calls[-1].body) == {"begin", "end", "description", "tags"}
    refused = timesheets.create(_want(billable=False), "powdo-00000002", ())
    assert isinstance(refused, Refusal) and "extra fields" in refused.text


def test_a_timesheet_at_another_time_is_taken_back(double: Double, client: Client) -> None:
    """When Kimai stores another instant than was sent, the timesheet is deleted and the fault told."""
    hour = timedelta(hours=1)
    double.kimai.rounding = lambda begin, end: (begin + hour, end + hour)
    with pytest.raises(PeerProtocolError, match="at another time"):
        Timesheets(client).create(_want(), "powdo-00000001", ())
    assert not double.kimai.rows


def test_the_fold_of_a_clock_change(double: Double, client: Client) -> None:
    """Both hours of the autumn night are stored as the instants they are."""
    start = int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()) * SECOND
    timesheets = Timesheets(client)
    for number, begin in enumerate((start, start + 60 * MINUTE)):
        want = _want(begin=(begin - _START) // MINUTE, minutes=30)
        assert _made(timesheets.create(want, f"powdo-0000000{number}", ())).begin == begin


def test_refusals_of_one_timesheet(double: Double, client: Client) -> None:
    """Locked, gone and forbidden are told apart from errors; unknown projects are refused with the field."""
    timesheets = Timesheets(client)
    listed = _made(timesheets.create(_want(), "powdo-00000001", ()))
    double.kimai.edit(listed.id, exported=True)
    assert timesheets.update(listed.id, _want(), "powdo-00000001", ()) == _FORBIDDEN
    assert timesheets.delete(listed.id) == _FORBIDDEN
    double.kimai.edit(listed.id, exported=False)
    assert timesheets.delete(listed.id) is None
    assert timesheets.delete(listed.id) == Refusal(404, frozenset(), "Not Found")
    assert timesheets.get(listed.id) is None
    double.kimai.rows[7] = Row(7, 5, 1, 1, datetime.now(UTC), None, "UTC")
    assert timesheets.get(7) == _FORBIDDEN
    assert timesheets.create(_want(project=99), "powdo-00000002", ()) == Refusal(
        400, frozenset({"project"}), "project: The selected choice is invalid"
    )


def test_tags_are_made_visible(double: Double, client: Client, told: Told) -> None:
    """Missing tags are created visible; what is there is taken in Kimai's spelling; hidden ones are told."""
    double.kimai.add_tag("Code", visible=True)
    double.kimai.add_tag("hidden", visible=False)
    catalogue = Catalogue(client)
    assert catalogue.ensure_tags(["code", "new", "hidden", "new"]) == ("Code", "new", "hidden")
    assert double.kimai.tag("new")["visible"]  # type: ignore[index]  # it is there
    assert told == ["the tag 'hidden' is hidden in kimai and cannot be filtered by"]
    before = double.count("POST", "/api/tags")
    catalogue.ensure_tags(["new", "hidden"])
    assert double.count("POST", "/api/tags") == before


@pytest.mark.parametrize("kind", ["fail", "fail after"])
def test_a_tag_that_another_client_makes_meanwhile(double: Double, client: Client, kind: str) -> None:
    """A 500 of the unique index is followed by a second look."""
    catalogue = Catalogue(client)
    double.faults.append(Fault(kind, "POST", "/api/tags"))
    if kind == "fail":
        with pytest.raises(RetryLaterError):
            catalogue.ensure_tags(["race"])
    else:
        assert catalogue.ensure_tags(["race"]) == ("race",)


def test_tags_one_may_not_make_are_left_out(double: Double, client: Client, told: Told) -> None:
    """Without the permission a tag is left out, and a person is told."""
    double.kimai.users["alice"].may_tag = False
    assert Catalogue(client).ensure_tags(["new"]) == ()
    assert "the tag 'new' is left out" in told[0]


def test_names_are_resolved(double: Double, client: Client) -> None:
    """Exact names, other case, ids; a project's own activity before a global one; nothing is guessed."""
    kimai = double.kimai
    kimai.add_project("website", 2)
    own = kimai.add_activity("Development", 1)["id"]
    catalogue = Catalogue(client)
    found = catalogue.resolve("ACME", "Website", "development")
    assert (found.project, found.activity, found.customer_name) == (1, own, "ACME")
    assert catalogue.resolve(None, "2", "Development").activity == 1
    for customer, project, activity, words in (
        (None, "WEBSITE", "Development", "ids 1, 2"),
        ("Nobody", "Website", "Development", "no customer 'Nobody'"),
        (None, "Nothing", "Development", "no project 'Nothing'"),
        (None, "Website", "Idling", "no activity 'Idling'"),
    ):
        with pytest.raises(RefusedError, match=words):
            catalogue.resolve(customer, project, activity)


def test_a_project_without_global_activities(double: Double, client: Client) -> None:
    """Where a project takes no global activities, one of that name is not taken."""
    double.kimai.add_project("Closed", 1, global_activities=False)
    with pytest.raises(RefusedError, match="no activity 'Development'"):
        Catalogue(client).resolve(None, "Closed", "Development")


@pytest.mark.parametrize(
    "errors", [5, "x", [1], {"errors": 5}, {"errors": None, "children": {"begin": {"errors": {"a": 1}}}}]
)
def test_a_refusal_in_another_shape_is_told_by_its_status(errors: object) -> None:
    """Whatever Kimai puts where its complaints stand, the refusal is one of ours."""
    refused = refusal(Answer(400, {"errors": errors}, {}), "a timesheet")
    assert refused.message == "kimai refuses a timesheet: status 400"
