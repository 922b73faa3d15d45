"""Durations, sizes, times and URLs as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from powdo.errors import ConfigurationError
from powdo.settings.units import (
    check_url,
    is_loopback,
    parse_duration,
    parse_listen,
    parse_moment,
    parse_size,
)

_NOW = datetime(2026, 3, 4, 15, 30, tzinfo=timezone(timedelta(hours=1)))  # a Wednesday


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("240", 240),
        (240, 240),
        ("90s", 90),
        ("30m", 1800),
        ("24h", 86400),
        ("14d", 1209600),
        ("2w", 1209600),
        (0, 0),
    ],
)
def test_durations(text, seconds):
    """A duration is seconds, or a number with s, m, h, d or w."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "-1", -1, "1.5h", 1.5, True, None, "1y", "1 h", "٣m", "1h30m", "9" * 13]
)
def test_what_is_no_duration_is_refused(text):
    """Signs, fractions, other units and other digits are refused."""
    with pytest.raises(ConfigurationError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (7, 7),
        ("1048576", 1 << 20),
        ("64MiB", 64 << 20),
        ("64 MB", 64_000_000),
        ("2KiB", 2048),
        ("1TiB", 1 << 40),
        ("5B", 5),
    ],
)
def test_sizes(text, size):
    """A size is bytes, or a number with a decimal or a binary unit."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", True, 1.5, "1.5MiB", "1M", "1mib", "64 MiB x"])
def test_what_is_no_size_is_refused(text):
    """Signs, fractions and ambiguous units are refused."""
    with pytest.raises(ConfigurationError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example",
        "http://127.0.0.1:5600",
        "http://localhost:1/x",
        "http://[::1]:80",
        "https://ä.example/p?q=1",
    ],
)
def test_urls_that_are_encrypted_or_stay_here(url):
    """Https is taken anywhere, http only on loopback."""
    assert check_url(url, ("http",)) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://0.0.0.0",
        "http://10.0.0.1", "ftp://a.example", "wss://a.example", "a.example", "https://", "https://u:p@a.example",
        "https://u@a.example", "https://a.example/#f", "https://a.example:99999", "https://a .example", "https://a\n",
        "", 5, "http://2130706433", "http://127.0.0.1@evil.example",
    ],
)  # fmt: skip
def test_urls_that_are_refused(url):
    """Plain text off this machine, other schemes, credentials and nonsense are refused."""
    with pytest.raises(ConfigurationError):
        check_url(url, ("http",))


def test_a_slash_at_the_end_is_left_out():
    """Two ways to write one address are one."""
    assert check_url("wss://relay.example/", ("ws",)) == "wss://relay.example"


def test_loopback():
    """Only names and addresses of this machine are loopback."""
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]")))
    assert not any(map(is_loopback, ("example.org", "192.168.0.1", "::", "0.0.0.0", "")))


@pytest.mark.parametrize(
    ("text", "pair"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:7777", ("::1", 7777)), ("a:65535", ("a", 65535))],
)
def test_listening_addresses(text, pair):
    """HOST:PORT, with brackets around IPv6."""
    assert parse_listen(text) == pair


@pytest.mark.parametrize("text", ["7777", ":7777", "a:", "a:65536", "a:-1", "a:٣", "", None])
def test_what_is_no_listening_address_is_refused(text):
    """A port without a host, or out of range, is refused."""
    with pytest.raises(ConfigurationError):
        parse_listen(text)


def test_moments():
    """RFC 3339, dates, words and ages name instants; dates and words are local midnights."""
    local = datetime(2026, 3, 2).astimezone()
    assert parse_moment("2026-03-02T09:00:00Z", now=_NOW).timestamp() == 1772442000
    assert parse_moment("2026-03-02", now=_NOW) == local
    assert parse_moment("monday", now=_NOW) == local
    assert parse_moment("Wednesday", now=_NOW) == parse_moment("today", now=_NOW)
    assert parse_moment("thursday", now=_NOW) == datetime(2026, 2, 26).astimezone()
    assert parse_moment("yesterday", now=_NOW) == datetime(2026, 3, 3).astimezone()
    assert parse_moment("now", now=_NOW) == _NOW
    assert parse_moment("2w", now=_NOW) == _NOW - timedelta(days=14)
    assert parse_moment("2026-03-02 09:00", now=_NOW) == datetime(2026, 3, 2, 9).astimezone()


@pytest.mark.parametrize(
    "text", ["", "someday", "2026-13-01", "20260302", "12", "2026-03-02T25:00", "2026-W10-1", "999999999999w"]
)
def test_what_is_no_moment_is_refused(text):
    """Other words and days that do not exist are refused."""
    with pytest.raises(ConfigurationError, match="is not a time"):
        parse_moment(text, now=_NOW)
