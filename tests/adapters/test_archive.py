"""Bundles as they are written: sizes, headers, foreign openers, and what a failure leaves behind."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import struct
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import pyzipper
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.adapters.archive import Built, build, read_manifest
from powdo.adapters.archive_reader import open_bundle
from powdo.errors import BadRecordError, CannotCreateError, InputMissingError
from powdo.worktime.bundle_format import FLOOR, MAX_RATIO, OUTER_OVERHEAD, padme
from powdo.worktime.manifest import MAX_FILES
from tests.bundles import EVENT, KEY, Sample, listing, sample
from tests.parts import needed


def written(of: Sample, tmp_path: Path, key: bytes = KEY) -> tuple[Path, Built]:
    """Return the path and facts of the bundle of *of*."""
    path = tmp_path / "one.zip"
    return path, build(of.write(tmp_path / "capture"), of.data, of.proof, key, path)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 400), max_size=3),
    st.lists(st.binary(max_size=70_000), max_size=2),
    st.binary(min_size=32, max_size=32),
)
def test_what_is_built_opens_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], screenshots: list[bytes], key: bytes
) -> None:
    """Whatever is captured comes out as it went in, at a Padmé size."""
    folder = tmp_path_factory.mktemp("round")
    of = sample(tuple(b"".join(EVENT % n for n in range(count)) for count in counts), tuple(screenshots))
    path, built = written(of, folder, key)
    assert padme(built.size) == built.size == path.stat().st_size
    opened = open_bundle(
        path,
        key_hex=key.hex(),
        salt_hex=built.salt,
        x=built.sha256,
        ox=built.ox,
        size=built.size,
        max_size=built.size,
        destination=folder / "out",
    )
    assert opened.manifest == of.manifest
    assert opened.manifest_bytes == of.data
    assert opened.proof["link"] == opened.link.content
    assert opened.files == tuple(of.files)
    found = {str(file.relative_to(folder / "out")) for file in (folder / "out").rglob("*") if file.is_file()}
    assert found == {"manifest.json", "proof.json", *of.files}
    for name, data in of.files.items():
        assert (folder / "out" / name).read_bytes() == data
    assert listing(folder) == ["capture", "one.zip", "out"]
    shutil.rmtree(folder)


def test_the_facts_are_those_of_the_file(tmp_path: Path) -> None:
    """sha256, size and salt are the outer file's, ox is the inner zip's, and the file is private."""
    path, built = written(sample(), tmp_path)
    blob = path.read_bytes()
    assert built.sha256 == hashlib.sha256(blob).hexdigest()
    assert built.size == len(blob) == FLOOR
    assert built.salt == blob[51:67].hex()
    assert path.stat().st_mode & 0o777 == 0o600
    with pyzipper.AESZipFile(path) as archive:
        archive.setpassword(KEY.hex().encode())
        assert hashlib.sha256(archive.read("bundle.zip")).hexdigest() == built.ox


def test_headers_tell_nothing_but_the_size(tmp_path: Path) -> None:
    """Two captures of one padded size differ in salt, verifier, ciphertext and code, and in no header."""
    blobs = []
    for number, of in enumerate((sample(), sample((EVENT * 90,), (), capture_id="another", sequence=7))):
        folder = tmp_path / str(number)
        folder.mkdir()
        blobs.append(written(of, folder, secrets.token_bytes(32))[0].read_bytes())
    one, other = blobs
    assert len(one) == len(other)
    assert one[:51] == other[:51]
    assert one[-89:] == other[-89:]
    assert one[67:69] != other[67:69] or one[51:67] != other[51:67]
    # flags (encrypted), method 99, 1980-01-01 00:00, no checksum
    assert struct.unpack_from("<HHHHL", one, 6) == (1, 99, 0, 33, 0)


def test_the_inner_zip_is_laid_out_as_documented(tmp_path: Path) -> None:
    """manifest.json and proof.json come first, .padding last; buckets are deflated, screenshots stored."""
    of = sample((EVENT * 500,), (b"\0" * 5000,))
    path, _built = written(of, tmp_path)
    with pyzipper.AESZipFile(path) as outer:
        outer.setpassword(KEY.hex().encode())
        (tmp_path / "inner.zip").write_bytes(outer.read("bundle.zip"))
    with zipfile.ZipFile(tmp_path / "inner.zip") as inner:
        assert inner.testzip() is None
        infos = inner.infolist()
    assert [info.filename for info in infos] == ["manifest.json", "proof.json", *of.files, ".padding"]
    assert [info.compress_type for info in infos] == [8, 8, 8, 0, 0]
    for info in infos:
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.external_attr >> 16 == 0o600
        assert (info.flag_bits, info.extra, info.comment) == (0, b"", b"")


def test_one_capture_under_one_key_gives_the_same_inner_zip(tmp_path: Path) -> None:
    """Ox depends on the capture alone, the outer bytes on a fresh salt."""
    one = written(sample(), tmp_path)[1]
    other = written(sample(), tmp_path)[1]
    assert one.ox == other.ox
    assert one.salt != other.salt


def test_what_deflates_like_a_bomb_goes_in_stored(tmp_path: Path) -> None:
    """A bucket of millions of equal bytes still makes a bundle that the reader takes."""
    data = b"a" * 30_000_000 + b"\n"
    path, built = written(sample((data,), ()), tmp_path)
    assert built.size > len(data)
    opened = open_bundle(
        path,
        key_hex=KEY.hex(),
        salt_hex=built.salt,
        x=built.sha256,
        ox=built.ox,
        size=built.size,
        max_size=1 << 30,
        destination=tmp_path / "out",
    )
    assert (opened.folder / "buckets/0.jsonl").stat().st_size == len(data)


def test_7z_opens_a_bundle_with_its_key(tmp_path: Path) -> None:
    """A person with 7-Zip and the key gets every file out without powdo."""
    program = shutil.which("7zz") or needed("7z")
    of = sample()
    path, _built = written(of, tmp_path)
    for archive, password in ((path, KEY.hex()), (tmp_path / "a" / "bundle.zip", None)):
        target = tmp_path / ("a" if password else "b")
        command = [program, "x", "-y", f"-o{target}", *([f"-p{password}"] if password else []), str(archive)]
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    for name, data in {"manifest.json": of.data, "proof.json": of.proof, **of.files}.items():
        assert (tmp_path / "b" / name).read_bytes() == data


def test_the_man_page_names_every_key() -> None:
    """powdo-bundle(5) tells of each key of manifest.json, proof.json and the link, and of their constants."""
    page = (Path(__file__).parents[2] / "man" / "powdo-bundle.5").read_text()
    words = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"^.*\bCm\b.*$", page, re.MULTILINE))))
    of = sample()
    manifest, proof = json.loads(of.data), json.loads(of.proof)
    parts = (manifest, manifest["buckets"][0], manifest["screenshots"][0], proof, json.loads(proof["link"]))
    assert {key for part in parts for key in part} | {"what", "reason", "withheld"} <= words
    for constant in (f"{OUTER_OVERHEAD} bytes", f"{MAX_FILES + 3} members", f"{MAX_RATIO} times", "64 KiB"):
        assert constant in page


# --- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [b"", b"something else\n", EVENT % 1 + EVENT % 2 + b"more"])
def test_an_altered_capture_is_not_bundled(tmp_path: Path, change: bytes) -> None:
    """A file that is not what the manifest says is refused here, and nothing is left behind."""
    of = sample()
    altered = replace(of, files=of.files | {"buckets/0.jsonl": change})
    with pytest.raises(BadRecordError, match="not what its manifest says"):
        build(altered.write(tmp_path / "capture"), of.data, of.proof, KEY, tmp_path / "one.zip")
    assert listing(tmp_path) == ["capture"]


def test_a_symlink_in_a_capture_is_not_followed(tmp_path: Path) -> None:
    """A link in the capture's folder cannot bring another file into the bundle."""
    of = sample()
    folder = of.write(tmp_path / "capture")
    (tmp_path / "elsewhere").write_bytes(of.files["buckets/0.jsonl"])
    (folder / "buckets/0.jsonl").unlink()
    (folder / "buckets/0.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputMissingError):
        build(folder, of.data, of.proof, KEY, tmp_path / "one.zip")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A capture without one of its files is missing input."""
    of = sample()
    folder = of.write(tmp_path / "capture")
    (folder / "screenshots/0.png").unlink()
    with pytest.raises(InputMissingError, match=r"0\.png"):
        build(folder, of.data, of.proof, KEY, tmp_path / "one.zip")
    assert listing(tmp_path) == ["capture"]


def test_a_missing_folder_cannot_be_written_to(tmp_path: Path) -> None:
    """No bundle is made where its folder is not there."""
    of = sample()
    folder = of.write(tmp_path / "capture")
    with pytest.raises(CannotCreateError):
        build(folder, of.data, of.proof, KEY, tmp_path / "nowhere" / "one.zip")


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    """A key of another length never encrypts anything."""
    of = sample()
    with pytest.raises(BadRecordError):
        build(of.write(tmp_path / "capture"), of.data, of.proof, b"short", tmp_path / "one.zip")


def test_the_manifest_is_read_as_it_lies(tmp_path: Path) -> None:
    """The bytes under the root are those in the folder."""
    of = sample()
    assert read_manifest(of.write(tmp_path / "capture")) == of.data
    with pytest.raises(InputMissingError):
        read_manifest(tmp_path / "nowhere")
