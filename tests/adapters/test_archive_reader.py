"""Bundles of a peer that lies: each is refused with its reason, and leaves nothing behind."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.adapters.archive_reader import Opened, open_bundle
from powdo.errors import BadRecordError, CannotCreateError, InputMissingError, PeerProtocolError
from powdo.worktime.bundle_format import DEFLATED, FLOOR
from powdo.worktime.link import parse_link, parse_proof, proof_to_bytes
from tests.bundles import (
    EVENT,
    KEY,
    Member,
    Sample,
    changed,
    inner_zip,
    listing,
    members,
    sample,
    seal,
    sha256,
)


def opened(tmp_path: Path, blob: bytes, inner: bytes | None = None, **promised: Any) -> Opened:
    """Return what opening *blob* gives; the promises fit unless others are given."""
    path = tmp_path / "blob"
    path.write_bytes(blob)
    values: dict[str, Any] = {
        "key_hex": KEY.hex(),
        "salt_hex": blob[51:67].hex().ljust(32, "0"),
        "x": sha256(blob),
        "ox": sha256(inner) if inner is not None else "0" * 64,
        "size": len(blob),
        "max_size": 1 << 30,
        "destination": tmp_path / "out",
    }
    return open_bundle(path, **(values | promised))


def refused(tmp_path: Path, blob: bytes, inner: bytes | None, kind: type[Exception], reason: str) -> None:
    """Assert that *blob* is refused for *reason* and nothing is left of it."""
    with pytest.raises(kind, match=reason):
        opened(tmp_path, blob, inner)
    assert listing(tmp_path) == ["blob"]


def test_a_bundle_made_byte_by_byte_is_taken(tmp_path: Path) -> None:
    """What the hostile ones below are made from is sound."""
    inner = inner_zip(members(sample()))
    result = opened(tmp_path, seal(inner), inner)
    assert result.manifest == sample().manifest
    assert (tmp_path / "out/buckets/0.jsonl").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


# --- promises --------------------------------------------------------------------------------------

PROMISES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "another sha256": ({"x": "0" * 64}, PeerProtocolError, "sha256 is not the one promised"),
    "another ox": ({"ox": "0" * 64}, PeerProtocolError, "inner zip is not the one promised"),
    "another salt": ({"salt_hex": "0" * 32}, PeerProtocolError, "salt"),
    "another size": ({"size": FLOOR + 4096}, PeerProtocolError, "were promised"),
    "another key": ({"key_hex": "ab" * 32}, PeerProtocolError, "key|authenticity"),
    "more than allowed": ({"max_size": 4096}, BadRecordError, "allowed"),
    "an upper-case key": ({"key_hex": KEY.hex().upper()}, BadRecordError, "'key'"),
    "a short key": ({"key_hex": "ab"}, BadRecordError, "'key'"),
    "a salt with a newline": ({"salt_hex": "0" * 31 + "\n"}, BadRecordError, "'salt'"),
}


@pytest.mark.parametrize(("promise", "kind", "reason"), PROMISES.values(), ids=PROMISES.keys())
def test_a_promise_that_does_not_hold_is_refused(
    tmp_path: Path, promise: dict[str, Any], kind: type[Exception], reason: str
) -> None:
    """Key, salt, hashes and size must be those of the bundle."""
    inner = inner_zip(members(sample()))
    with pytest.raises(kind, match=reason):
        opened(tmp_path, seal(inner), inner, **promise)
    assert listing(tmp_path) == ["blob"]


# --- the outer ZIP ---------------------------------------------------------------------------------


def patched(blob: bytes, *changes: tuple[int, bytes]) -> bytes:
    """Return *blob* with bytes replaced; a negative place counts from the end."""
    data = bytearray(blob)
    for place, value in changes:
        place %= len(data)
        data[place : place + len(value)] = value
    return bytes(data)


def renamed(blob: bytes) -> bytes:
    """Return *blob* with its member named `../../xxxx` in both headers."""
    return blob.replace(b"bundle.zip", b"../../xxxx")


def shrunk(blob: bytes) -> bytes:
    """Return *blob* with 100 bytes as its member's size in both headers."""
    return patched(blob, (22, struct.pack("<L", 100)), (-89 + 24, struct.pack("<L", 100)))


def replaced(blob: bytes) -> bytes:
    """Return an unencrypted ZIP of the same name and length."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bundle.zip", bytes(len(blob) - 118))
    assert len(file.getvalue()) == len(blob)
    return file.getvalue()


def with_descriptor(blob: bytes) -> bytes:
    """Return *blob* with the flag of a data descriptor in both headers."""
    return patched(blob, (6, b"\x09"), (-89 + 8, b"\x09"))


def doubled(blob: bytes) -> bytes:
    """Return *blob* with a directory that lists its member twice."""
    central = blob[-89:-22]
    offset = len(blob) - 89 - len(central)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, 2 * len(central), offset, 0)
    return blob[: -89 - len(central)] + 2 * central + end


OUTER: dict[str, tuple[Callable[[bytes], bytes], type[Exception], str]] = {
    "a renamed member": (renamed, BadRecordError, "not 'bundle.zip'"),
    "a name changed in one header": (
        lambda blob: patched(blob, (30, b"BUNDLE")),
        BadRecordError,
        "not 'bundle.zip'",
    ),
    "a shrunken size": (shrunk, BadRecordError, "sizes in its headers"),
    "an unencrypted replacement": (replaced, BadRecordError, "not laid out"),
    "a cleared flag of encryption": (
        lambda blob: patched(blob, (6, b"\0"), (-89 + 8, b"\0")),
        BadRecordError,
        "not encrypted",
    ),
    "a data descriptor": (with_descriptor, BadRecordError, "data descriptor"),
    "two members": (doubled, BadRecordError, "."),
    "a flipped bit in the ciphertext": (
        lambda blob: patched(blob, (5000, bytes([blob[5000] ^ 1]))),
        PeerProtocolError,
        "authenticity",
    ),
    "a flipped bit in the code": (
        lambda blob: patched(blob, (-90, bytes([blob[-90] ^ 1]))),
        PeerProtocolError,
        "authenticity",
    ),
    "a flipped bit in the verifier": (
        lambda blob: patched(blob, (67, bytes([blob[67] ^ 1]))),
        PeerProtocolError,
        "key",
    ),
    "a checksum as in AE-1": (
        lambda blob: patched(blob, (14, b"\1"), (-89 + 16, b"\1")),
        BadRecordError,
        "AE-2",
    ),
    "128 bits": (lambda blob: blob.replace(b"AE\3\0\0", b"AE\1\0\0"), BadRecordError, "256 bits"),
    "a version from the future": (
        lambda blob: patched(blob, (4, b"\xff"), (-89 + 6, b"\xff")),
        BadRecordError,
        "version",
    ),
    "a comment": (lambda blob: patched(blob, (-2, b"\1")), BadRecordError, "exactly one member"),
    "a second disk": (lambda blob: patched(blob, (-18, b"\1")), BadRecordError, "exactly one member"),
    "a member elsewhere": (lambda blob: patched(blob, (-89 + 42, b"\1")), BadRecordError, "another place"),
    "a cut-off end": (lambda blob: blob[:-1], BadRecordError, "padded size"),
    "half of it": (lambda blob: blob[: FLOOR // 2], BadRecordError, "padded size"),
    "nothing": (lambda blob: b"", BadRecordError, "padded size"),
    "zeros": (lambda blob: bytes(len(blob)), BadRecordError, "not laid out"),
    "bytes before it": (lambda blob: bytes(FLOOR) + blob, BadRecordError, "."),
}


@pytest.mark.parametrize(("change", "kind", "reason"), OUTER.values(), ids=OUTER.keys())
def test_a_hostile_outer_zip_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], kind: type[Exception], reason: str
) -> None:
    """Headers are not authenticated, so each field that could mislead is compared."""
    inner = inner_zip(members(sample()))
    refused(tmp_path, change(seal(inner)), inner, kind, reason)


# --- the inner ZIP ---------------------------------------------------------------------------------

EXTRA = Member(name=b"buckets/7.jsonl", data=b"{}\n")


def overlapping(listed: list[Member]) -> bytes:
    """Return a ZIP in which a second name points at the first's bytes."""
    return inner_zip([*listed, replace(EXTRA, offset=0)])


def bomb(listed: list[Member]) -> bytes:
    """Return a ZIP with a bucket that unpacks to 64 MiB of zeros."""
    return inner_zip([*listed, replace(EXTRA, data=bytes(64 << 20), method=DEFLATED)])


def lying_bomb(listed: list[Member]) -> bytes:
    """Return a ZIP with a bucket that says 3 bytes and unpacks to 8 MiB."""
    of = sample()
    large = Member(name=b"buckets/0.jsonl", data=bytes(8 << 20), method=DEFLATED)
    size = len(of.files["buckets/0.jsonl"])
    return inner_zip([*listed[:2], replace(large, size=size), *listed[3:]])


def many(listed: list[Member]) -> bytes:
    """Return a ZIP with more members than any capture has."""
    names = (b"buckets/%d.jsonl" % number for number in range(5000))
    return inner_zip([*listed[:2], *(Member(name=name, data=b"") for name in names)])


INNER: dict[str, tuple[Callable[[list[Member]], bytes], str]] = {
    "a name that climbs": (lambda it: inner_zip([*it, replace(EXTRA, name=b"../../x")]), "not ours"),
    "an absolute name": (lambda it: inner_zip([*it, replace(EXTRA, name=b"/etc/cron.d/x")]), "not ours"),
    "a backslash": (lambda it: inner_zip([*it, replace(EXTRA, name=b"buckets\\1.jsonl")]), "not ours"),
    "a NUL": (lambda it: inner_zip([*it, replace(EXTRA, name=b"buckets/1.jsonl\0.png")]), "not ours"),
    "an escape": (lambda it: inner_zip([*it, replace(EXTRA, name=b"\x1b[2J")]), "not ours"),
    "a trailing newline": (
        lambda it: inner_zip([*it, replace(EXTRA, name=b"buckets/1.jsonl\n")]),
        "not ours",
    ),
    "another case": (lambda it: inner_zip([*it, replace(EXTRA, name=b"MANIFEST.JSON")]), "not ours"),
    "a name of 60000 bytes": (lambda it: inner_zip([*it, replace(EXTRA, name=b"a" * 60000)]), "members"),
    "an empty name": (lambda it: inner_zip([*it, replace(EXTRA, name=b"")]), "not ours"),
    "a folder": (lambda it: inner_zip([*it, replace(EXTRA, name=b"buckets/")]), "not ours"),
    "a symlink": (lambda it: inner_zip([*it, replace(EXTRA, attributes=0o120777 << 16)]), "regular file"),
    "a device": (lambda it: inner_zip([*it, replace(EXTRA, attributes=0o060600 << 16)]), "regular file"),
    "a member twice": (lambda it: inner_zip([*it, it[2]]), "twice"),
    "a second manifest": (lambda it: inner_zip([*it, it[0]]), "twice"),
    "an encrypted member": (lambda it: inner_zip([*it, replace(EXTRA, flags=1)]), "encrypted"),
    "a data descriptor": (lambda it: inner_zip([*it, replace(EXTRA, flags=8)]), "flags"),
    "an extra field": (lambda it: inner_zip([*it, replace(EXTRA, extra=b"ux\0\0")]), "extra"),
    "bzip2": (lambda it: inner_zip([*it, replace(EXTRA, method=12)]), "packed"),
    "overlapping members": (overlapping, "overlap"),
    "a bomb": (bomb, "more than a bundle may"),
    "a bomb that lies": (lying_bomb, "size or checksum"),
    "a size beyond 32 bits": (lambda it: inner_zip([*it, replace(EXTRA, size=0xFFFFFFFF)]), "packed"),
    "two headers that differ": (
        lambda it: inner_zip(changed(it, 2, local_name=b"buckets/1.jsonl")),
        "two headers",
    ),
    "a wrong checksum": (lambda it: inner_zip(changed(it, 2, crc=1)), "checksum"),
    "bytes behind the deflated end": (
        lambda it: inner_zip(changed(it, 2, method=DEFLATED, packed=b"\x03\x00junk")),
        "behind its end",
    ),
    "a deflated stream cut off": (
        lambda it: inner_zip(
            changed(it, 2, packed=replace(it[2], method=DEFLATED).pack()[:-3], method=DEFLATED)
        ),
        "cut off|size or checksum",
    ),
    "what is no deflated stream": (
        lambda it: inner_zip(changed(it, 2, method=DEFLATED, packed=b"\xff" * 20)),
        "does not unpack",
    ),
    "bytes before the end": (lambda it: inner_zip(it, trailing=b"x" * 50), "belong to nothing"),
    "no proof": (lambda it: inner_zip([it[0], *it[2:]]), "where they belong"),
    "the manifest second": (lambda it: inner_zip([it[1], it[0], *it[2:]]), "where they belong"),
    "a file the manifest does not list": (lambda it: inner_zip([*it, EXTRA]), "only in the zip"),
    "a file only the manifest lists": (lambda it: inner_zip(it[:-1]), "only in the manifest"),
    "a file of another size": (lambda it: inner_zip(changed(it, 2, data=b"{}\n")), "of the size"),
    "a file of other contents": (
        lambda it: inner_zip(changed(it, 2, data=it[2].data[::-1].replace(b"\n", b" "))),
        "sha256",
    ),
    "a manifest without end": (lambda it: inner_zip(changed(it, 0, data=b"[" * (2 << 20))), "longer than"),
    "a manifest that is none": (lambda it: inner_zip(changed(it, 0, data=b"{}")), "manifest"),
    "no zip at all": (lambda it: bytes(FLOOR - 168), "not laid out"),
    "5002 members": (many, "more than 2000 members"),
}


@pytest.mark.parametrize(("make", "reason"), INNER.values(), ids=INNER.keys())
def test_a_hostile_inner_zip_is_refused(
    tmp_path: Path, make: Callable[[list[Member]], bytes], reason: str
) -> None:
    """What an enrolled worker's own key seals is no less suspect."""
    inner = make(members(sample()))
    refused(tmp_path, seal(inner), inner, BadRecordError, reason)


def test_padding_that_holds_something_is_refused(tmp_path: Path) -> None:
    """Nothing travels in the padding."""
    listed = members(sample())
    room = len(inner_zip(listed)) - len(inner_zip(listed, padding=Member(name=b".padding", data=b"")))
    inner = inner_zip(listed, padding=Member(name=b".padding", data=b"x" * room))
    refused(tmp_path, seal(inner), inner, BadRecordError, "padding holds something")


@pytest.mark.parametrize("data", [EVENT * 2, EVENT * 4, EVENT * 2 + EVENT[:-1]])
def test_events_are_counted(tmp_path: Path, data: bytes) -> None:
    """A bucket holds as many lines as its manifest says, the last one ended."""
    of = sample((data,))
    bucket = replace(of.manifest.buckets[0], events=3)
    lying = Sample(manifest=replace(of.manifest, buckets=(bucket,)), files=of.files)
    inner = inner_zip(members(lying))
    refused(tmp_path, seal(inner), inner, BadRecordError, "3 events")


# --- the link --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"sequence": 2}, {"root": "0" * 64}, {"root": None}])
def test_a_link_of_another_bundle_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """The link must speak of the manifest beside it."""
    listed = members(sample())
    own = parse_link(opened_link(listed))
    other = replace(own, **change)
    inner = inner_zip(changed(listed, 1, data=proof_to_bytes(other.content, None)))
    refused(tmp_path, seal(inner), inner, BadRecordError, "link")


def opened_link(listed: list[Member]) -> str:
    """Return the content of the link in *listed*."""
    return str(parse_proof(listed[1].data)["link"])


# --- files -----------------------------------------------------------------------------------------


def test_a_missing_blob_is_missing_input(tmp_path: Path) -> None:
    """A path that is not there is told as such, a link to a blob is not followed."""
    inner = inner_zip(members(sample()))
    blob = seal(inner)
    (tmp_path / "target").write_bytes(blob)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("nowhere", "link"):
        with pytest.raises(InputMissingError):
            open_bundle(
                tmp_path / name,
                key_hex=KEY.hex(),
                salt_hex="0" * 32,
                x=sha256(blob),
                ox=sha256(inner),
                size=len(blob),
                max_size=1 << 20,
                destination=tmp_path / "out",
            )


def test_what_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    """A folder that holds something stays as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"keep")
    inner = inner_zip(members(sample()))
    with pytest.raises(CannotCreateError):
        opened(tmp_path, seal(inner), inner)
    assert (tmp_path / "out" / "mine").read_bytes() == b"keep"
    assert listing(tmp_path) == ["blob", "out"]


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(-700, 700), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_no_damage_makes_another_error(
    tmp_path_factory: pytest.TempPathFactory, inside: bool, damage: list[tuple[int, int]]
) -> None:
    """Headers damaged at random are refused on purpose or harmless; nothing else is raised, nothing stays."""
    inner = inner_zip(members(sample()))
    blob = bytearray(inner if inside else seal(inner))
    for place, mask in damage:
        blob[place] ^= mask
    sealed, folder = seal(bytes(blob)) if inside else bytes(blob), tmp_path_factory.mktemp("fuzz")
    try:
        result = opened(folder, sealed, bytes(blob) if inside else inner)
    except (BadRecordError, PeerProtocolError):
        assert listing(folder) == ["blob"]
    else:
        assert result.manifest == sample().manifest
    shutil.rmtree(folder)
