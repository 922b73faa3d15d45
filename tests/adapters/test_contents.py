"""Own captures are read back from the folder and, in memory, from the bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from powdo.adapters.archive import build
from powdo.adapters.contents import of_bundle, of_folder
from powdo.errors import BadRecordError, InputMissingError
from powdo.records import Bundle
from powdo.worktime.manifest import from_micros
from tests.bundles import BEGIN, END, KEY, listing, sample


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Return the record of a bundle, whose plaintext is in tmp_path/c1."""
    what = sample()
    path = tmp_path / "bundles" / "c1.zip"
    path.parent.mkdir()
    built = build(what.write(tmp_path / "c1"), what.data, what.proof, KEY, path)
    return Bundle(
        id="c1", sequence=1, device=what.manifest.device, begin=from_micros(BEGIN), end=from_micros(END),
        path=str(path), sha256=built.sha256, ox=built.ox, size=built.size, salt=built.salt,
    )  # fmt: skip


def test_folder_and_bundle_hold_the_same(bundle: Bundle, tmp_path: Path) -> None:
    """Manifest, bucket events and screenshots are the same in both; reading leaves nothing on the disk."""
    before = sorted(tmp_path.rglob("*"))
    plain, sealed = of_folder(tmp_path / "c1"), of_bundle(bundle, KEY.hex())
    assert plain.manifest == sealed.manifest == sample().manifest
    assert plain.buckets() == sealed.buckets()
    assert [event.data["title"] for event in plain.buckets()[0].events] == ["1", "2"]
    shot = plain.manifest.screenshots[0].file
    assert plain.read(shot) == sealed.read(shot) == b"\x89PNG looks like this"
    assert sorted(tmp_path.rglob("*")) == before


def test_unpacked_as_it_was(bundle: Bundle, tmp_path: Path) -> None:
    """Unpacking gives the capture's folder again."""
    of_bundle(bundle, KEY.hex()).unpack(tmp_path / "again")
    for name in ("", "buckets", "screenshots"):
        assert listing(tmp_path / "again" / name) == listing(tmp_path / "c1" / name)
    for path in (tmp_path / "c1").rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(tmp_path / "c1")).read_bytes() == path.read_bytes()


def test_what_is_wrong_is_told(bundle: Bundle, tmp_path: Path) -> None:
    """Another key, other contents, a changed or missing file each are an error, and never wrong contents."""
    with pytest.raises(BadRecordError, match="damaged"):
        of_bundle(bundle, "00" * 32)
    with pytest.raises(BadRecordError, match="damaged"):
        of_bundle(replace(bundle, ox="00" * 32), KEY.hex())
    with pytest.raises(InputMissingError):
        of_bundle(replace(bundle, path=str(tmp_path / "none.zip")), KEY.hex())
    (tmp_path / "none.zip").write_bytes(b"no zip")
    with pytest.raises(BadRecordError, match="damaged"):
        of_bundle(replace(bundle, path=str(tmp_path / "none.zip")), KEY.hex())
    (tmp_path / "c1" / "buckets" / "0.jsonl").write_bytes(b"{}\n")
    with pytest.raises(BadRecordError, match="damaged"):
        of_folder(tmp_path / "c1").buckets()
    (tmp_path / "c1" / "buckets" / "0.jsonl").unlink()
    with pytest.raises(InputMissingError):
        of_folder(tmp_path / "c1").buckets()
    (tmp_path / "c1" / "manifest.json").unlink()
    with pytest.raises(InputMissingError):
        of_folder(tmp_path / "c1")
