"""manifest.json: what is built is parsed again, and what a peer may not say is refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.worktime.manifest import (
    Absent,
    BucketFile,
    Manifest,
    ScreenshotFile,
    from_micros,
    manifest_root,
    micros,
    parse_manifest,
)

DEVICE = "6f1c2c1e-3d0a-4d5e-9a64-0d7f6f1b2a33"
BEGIN, END = 1_795_000_000_000_000, 1_795_000_300_000_000

_texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40)
_moments = st.integers(BEGIN, END)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Return any manifest that may be sent."""
    buckets = []
    for number in range(draw(st.integers(0, 3))):
        begin, end = sorted((draw(_moments), draw(_moments)))
        names = {name: draw(_texts) for name in ("id", "type", "client", "hostname", "device_id")}
        buckets.append(
            BucketFile(
                **names,
                begin=begin,
                end=end,
                events=draw(st.integers(0, 9)),
                file=f"buckets/{number}.jsonl",
                sha256=draw(st.binary(min_size=32, max_size=32)).hex(),
                size=draw(st.integers(0, 1 << 40)),
            )
        )
    screenshots = [
        ScreenshotFile(
            time=draw(_moments),
            monitor=number + 1,
            width=draw(st.integers(1, 9999)),
            height=draw(st.integers(1, 9999)),
            file=f"screenshots/{number}.{draw(st.sampled_from(('png', 'webp')))}",
            sha256=draw(st.binary(min_size=32, max_size=32)).hex(),
            size=draw(st.integers(0, 1 << 40)),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    return Manifest(
        id=draw(st.from_regex(r"\A[0-9a-z][0-9a-z-]{0,20}\Z")),
        device=DEVICE,
        sequence=draw(st.integers(0, (1 << 53) - 1)),
        begin=BEGIN,
        end=END,
        timezone="Europe/Berlin",
        buckets=tuple(buckets),
        screenshots=tuple(screenshots),
        absent=tuple(Absent("screenshots", reason) for reason in draw(st.lists(_texts, max_size=2))),
        salt=draw(st.binary(min_size=16, max_size=16)).hex(),
    )


@given(manifests())
def test_a_manifest_comes_back_as_it_was_written(manifest: Manifest) -> None:
    """Whatever may be built parses to the same manifest and writes the same bytes again."""
    data = manifest.to_bytes()
    assert parse_manifest(data) == manifest
    assert parse_manifest(data).to_bytes() == data
    assert b"\n" not in data


@given(st.integers(0, 253_000_000_000_000_000))
def test_microseconds_are_exact(value: int) -> None:
    """No instant loses a microsecond on its way through a datetime."""
    assert micros(from_micros(value)) == value


def example() -> dict[str, Any]:
    """Return a manifest as JSON."""
    return {
        "v": 1,
        "powdo": "0.1.0",
        "id": "c1",
        "device": DEVICE,
        "sequence": 3,
        "begin": "2026-11-18T10:00:00Z",
        "end": "2026-11-18T10:05:00Z",
        "timezone": "Europe/Berlin",
        "buckets": [
            {
                "id": "aw-watcher-window_x",
                "type": "currentwindow",
                "client": "aw-watcher-window",
                "hostname": "x",
                "device_id": "d",
                "begin": "2026-11-18T10:00:00Z",
                "end": "2026-11-18T10:05:00Z",
                "events": 2,
                "file": "buckets/0.jsonl",
                "sha256": "a" * 64,
                "size": 9,
            }
        ],
        "screenshots": [
            {
                "time": "2026-11-18T10:04:00Z",
                "monitor": 1,
                "width": 4,
                "height": 3,
                "file": "screenshots/0.png",
                "sha256": "b" * 64,
                "size": 5,
            }
        ],
        "absent": [{"what": "activity", "reason": "away"}],
        "salt": "0" * 32,
    }


def encode(obj: object) -> bytes:
    """Return *obj* as minified JSON."""
    return json.dumps(obj, separators=(",", ":")).encode()


def test_unknown_keys_are_passed_over_and_still_under_the_root() -> None:
    """A key of a later version harms nothing, but changes the root."""
    plain, longer = encode(example()), encode(example() | {"weather": "rain"})
    assert parse_manifest(longer) == parse_manifest(plain)
    assert manifest_root(longer) != manifest_root(plain)


def test_the_root_is_the_salted_sha256_of_the_bytes() -> None:
    """The root is sha256 over the salt's bytes and then the manifest's."""
    data = encode(example())
    assert manifest_root(data) == hashlib.sha256(bytes(16) + data).hexdigest()


HOSTILE = {
    "another version": {"v": 2},
    "a version that is no number": {"v": True},
    "an id that climbs": {"id": "../x"},
    "an id that begins with a dash": {"id": "-rf"},
    "a device that is no UUID": {"device": "laptop"},
    "a negative sequence": {"sequence": -1},
    "a sequence that is a bool": {"sequence": True},
    "a fractional sequence": {"sequence": 1.0},
    "an end before the begin": {"end": "2026-11-18T09:00:00Z"},
    "a time without zone": {"begin": "2026-11-18T10:00:00"},
    "a time before the epoch": {"begin": "1969-12-31T23:59:59Z"},
    "a zone that climbs": {"timezone": "../../etc/passwd"},
    "a short salt": {"salt": "00"},
    "an upper-case salt": {"salt": "A" * 32},
    "buckets that are an object": {"buckets": {}},
    "buckets that hold numbers": {"buckets": [1]},
    "a terminal escape": {"absent": [{"what": "activity", "reason": "\x1b]0;x\x07"}]},
    "a lone surrogate": {"absent": [{"what": "activity", "reason": "\ud800"}]},
    "a text without end": {"absent": [{"what": "activity", "reason": "x" * 501}]},
    "more files than any": {"absent": [{"what": "a", "reason": "b"}] * 2001},
}
HOSTILE_BUCKET = {
    "a path that climbs": {"file": "buckets/../../x.jsonl"},
    "an absolute path": {"file": "/etc/passwd"},
    "a path elsewhere": {"file": "screenshots/0.png"},
    "a path with a leading zero": {"file": "buckets/00.jsonl"},
    "a path with a newline": {"file": "buckets/0.jsonl\n"},
    "another script's digit": {"file": "buckets/\u0663.jsonl"},
    "a negative size": {"size": -1},
    "a hash that is none": {"sha256": "x" * 64},
    "events beyond the period": {"end": "2026-11-18T10:06:00Z"},
    "a missing name": {"hostname": None},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_refused(change: dict[str, Any]) -> None:
    """Each wrong value is a bad record, never another exception."""
    with pytest.raises(BadRecordError):
        parse_manifest(encode(example() | change))


@pytest.mark.parametrize("change", HOSTILE_BUCKET.values(), ids=HOSTILE_BUCKET.keys())
def test_a_hostile_bucket_is_refused(change: dict[str, Any]) -> None:
    """Each wrong value in a bucket is a bad record."""
    obj = example()
    obj["buckets"] = [obj["buckets"][0] | change]
    with pytest.raises(BadRecordError):
        parse_manifest(encode(obj))


@pytest.mark.parametrize("name", ["monitor", "width", "height"])
def test_a_screenshot_of_an_impossible_size_is_refused(name: str) -> None:
    """A size that no display has would not fit the database."""
    obj = example()
    obj["screenshots"][0][name] = 1 << 31
    with pytest.raises(BadRecordError, match="out of range"):
        parse_manifest(encode(obj))


def test_a_screenshot_outside_the_period_is_refused() -> None:
    """A screenshot of another time cannot slip in."""
    obj = example()
    obj["screenshots"][0]["time"] = "2026-11-18T11:00:00Z"
    with pytest.raises(BadRecordError, match="outside"):
        parse_manifest(encode(obj))


@pytest.mark.parametrize("second", ["screenshots/0.png", "screenshots/0.webp"])
def test_a_file_listed_twice_is_refused(second: str) -> None:
    """One number is one screenshot, whatever its suffix."""
    obj = example()
    obj["screenshots"].append(obj["screenshots"][0] | {"file": second})
    with pytest.raises(BadRecordError, match="twice"):
        parse_manifest(encode(obj))


@pytest.mark.parametrize("missing", sorted(example()))
def test_a_manifest_without_a_key_is_refused(missing: str) -> None:
    """Every key is required."""
    obj = example()
    del obj[missing]
    with pytest.raises(BadRecordError):
        parse_manifest(encode(obj))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"v":NaN}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    """Bytes that are not a JSON object are a bad record."""
    with pytest.raises(BadRecordError):
        parse_manifest(data)
