"""Addresses of blobs (BUD-01) and blob descriptors (BUD-02)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips.blossom import (
    Descriptor,
    blob_url,
    check_address,
    hash_in_url,
    host_allowed,
    parse_descriptor,
    read_answer,
)

X, Y = "a" * 64, "b" * 64


def test_a_descriptor_is_written_and_read_back() -> None:
    """The five fields of BUD-02 survive."""
    blob = Descriptor(
        url=blob_url("https://cdn.example/", X, "application/zip"), sha256=X, size=3, type="a/b", uploaded=9
    )
    assert blob.url == f"https://cdn.example/{X}.zip"
    assert parse_descriptor(blob.to_json()) == blob
    assert blob_url("https://cdn.example", X, "application/octet-stream").endswith(".bin")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": X.upper()},
        {"sha256": None},
        {"size": -1},
        {"size": True},
        {"size": "3"},
        {"size": 1 << 53},
        {"uploaded": 1.5},
        {"type": None},
        {"url": f"http://cdn.example/{X}.zip"},
        {"url": f"https://cdn.example/{Y}.zip"},
        {"url": f"https://u:p@cdn.example/{X}.zip"},
        {"url": f"https://cdn.example/ {X}.zip"},
        {"url": "https://[/"},
    ],
)
def test_a_descriptor_with_a_wrong_field_is_refused(change: dict[str, Any]) -> None:
    """The strict reading takes nothing for granted."""
    good = Descriptor(url=f"https://cdn.example/{X}.zip", sha256=X, size=3).to_json()
    with pytest.raises(BadRecordError):
        parse_descriptor(good | change)
    with pytest.raises(BadRecordError):
        parse_descriptor([good])


def test_an_answer_is_read_with_forgiveness_but_not_without_hash_and_size() -> None:
    """Odd or absent url, type, uploaded and nip94 do no harm; hash and size must be there."""
    body = json.dumps(
        {"sha256": X.upper(), "size": 3, "url": 5, "uploaded": "x", "nip94": {"tags": []}}
    ).encode()
    assert read_answer(body) == Descriptor(url="", sha256=X, size=3)
    for bad in (
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"sha256":"00","size":3}',
        b"\xff",
        b'{"sha256":"%s"}' % X.encode(),
    ):
        with pytest.raises(PeerProtocolError):
            read_answer(bad)


def test_the_hash_in_a_url_is_the_last_one() -> None:
    """BUD-03: the last run of 64 hex digits counts; a longer run is none."""
    assert hash_in_url(f"https://cdn.example/{Y}/{X}.zip?a=b") == X
    assert hash_in_url(f"https://cdn.example/{X}0") is None
    assert hash_in_url("https://cdn.example/") is None


@pytest.mark.parametrize(
    ("url", "allowed", "expected"),
    [
        ("https://cdn.example/x", ["cdn.example"], True),
        ("https://CDN.example/x", ["https://cdn.example"], True),
        ("https://cdn.example:8443/x", ["cdn.example"], True),
        ("https://cdn.example:8443/x", ["cdn.example:443"], False),
        ("https://cdn.example/x", ["cdn.example:443"], True),
        ("http://127.0.0.1:3000/x", ["http://127.0.0.1:3000"], True),
        ("https://127.0.0.1:3000/x", ["http://127.0.0.1:3000"], False),
        ("https://cdn.example.evil/x", ["cdn.example"], False),
        ("https://evil/cdn.example", ["cdn.example"], False),
        ("https://cdn.example@evil/x", ["cdn.example"], False),
        ("https://cdn.example:nan/x", ["cdn.example"], False),
        ("https://cdn.example/x", [], False),
    ],
)
def test_only_listed_hosts_are_allowed(url: str, allowed: list[str], expected: bool) -> None:
    """A host is allowed as a whole, with its port and scheme where the list has them."""
    assert host_allowed(url, allowed) is expected


@pytest.mark.parametrize(
    "url",
    ["http://cdn.example", "ftp://cdn.example", "//cdn.example", "https://", "https://a:0", "https://a\\b"],
)
def test_addresses_off_this_machine_must_be_https(url: str) -> None:
    """Plain http is for loopback only."""
    assert check_address("http://127.0.0.1:1/x") == "http://127.0.0.1:1/x"
    assert check_address("http://[::1]:1")
    with pytest.raises(BadRecordError):
        check_address(url)
