"""A capture of 20 MB sealed and opened: powdo beside bare pyzipper and 7z.

    python benchmarks/bundle.py

powdo writes the inner ZIP (every file checked against the manifest), seals it with AES-256, hashes both,
syncs, and opens it again with every check of its reader. The peers do only one thing: pyzipper writes one
stored, encrypted member and reads it back; 7z packs the same bytes stored and encrypted, and extracts
them. The bytes are screenshots that do not compress (18 MB) and bucket events that do (2 MB).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

import measure
import pyzipper

from powdo.adapters.archive import Built, build
from powdo.adapters.archive_reader import open_bundle
from tests.bundles import EVENT, KEY, sample

ROUNDS = 5
CHUNK = 1 << 20
SCREENSHOTS = 40


class Work:
    """The capture, and what each side makes of it in its own files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pictures = tuple(secrets.token_bytes(450_000) for _ in range(SCREENSHOTS))
        lines = b"".join(EVENT % number for number in range(22_000))
        self.what = sample((lines,), pictures)
        self.what.write(folder / "capture")
        self.inner = folder / "inner"
        self.inner.write_bytes(b"".join(self.what.files.values()))
        self.built: Built | None = None

    def powdo_write(self) -> None:
        """Seal the capture as `bundle` does."""
        what = self.what
        self.built = build(self.folder / "capture", what.data, what.proof, KEY, self.folder / "bundle")

    def powdo_read(self) -> None:
        """Open the bundle as `ingest` does."""
        built = self.built
        assert built is not None
        open_bundle(
            self.folder / "bundle",
            key_hex=KEY.hex(),
            salt_hex=built.salt,
            x=built.sha256,
            ox=built.ox,
            size=built.size,
            max_size=1 << 30,
            destination=self.folder / "opened",
        )
        shutil.rmtree(self.folder / "opened")

    def pyzipper_write(self) -> None:
        """Write one stored member, sealed with AES-256."""
        with (
            self.inner.open("rb") as source,
            pyzipper.AESZipFile(self.folder / "bare", "w", encryption=pyzipper.WZ_AES) as archive,
        ):
            archive.setpassword(KEY.hex().encode())
            with archive.open("content", "w") as member:
                shutil.copyfileobj(source, member, CHUNK)

    def pyzipper_read(self) -> None:
        """Read that member into a file."""
        with (
            pyzipper.AESZipFile(self.folder / "bare") as archive,
            (self.folder / "out").open("wb") as target,
        ):
            archive.setpassword(KEY.hex().encode())
            with archive.open("content") as member:
                shutil.copyfileobj(member, target, CHUNK)

    def seven_write(self) -> float:
        """Write the same with 7z, one thread."""
        (self.folder / "7.zip").unlink(missing_ok=True)
        return measure.child(
            ["7z", "a", "-bd", "-tzip", "-mx0", "-mmt1", "-mem=AES256", f"-p{KEY.hex()}", "7.zip", "inner"],
            dict(os.environ),
            cwd=self.folder,
        )

    def seven_read(self) -> float:
        """Read it with 7z."""
        return measure.child(
            ["7z", "x", "-bd", "-y", "-mmt1", f"-p{KEY.hex()}", "-oseven", "7.zip"],
            dict(os.environ),
            cwd=self.folder,
        )


def main() -> None:
    """Run all in turns and print ratios."""
    measure.headline("A bundle of 20 MB")
    with tempfile.TemporaryDirectory() as name:
        work = Work(Path(name))
        works = {
            "write: powdo": lambda: measure.own(work.powdo_write),
            "write: pyzipper, bare": lambda: measure.own(work.pyzipper_write),
            "read: powdo": lambda: measure.own(work.powdo_read),
            "read: pyzipper, bare": lambda: measure.own(work.pyzipper_read),
        }
        if shutil.which("7z"):
            works |= {"write: 7z": work.seven_write, "read: 7z": work.seven_read}
        else:
            measure.write("7z is not installed: its rows are missing\n")
        rounds = measure.in_turns(works, ROUNDS)
    measure.show(rounds)
    measure.write()
    for what in ("write", "read"):
        for peer in ("pyzipper, bare", "7z"):
            if f"{what}: {peer}" in rounds:
                value = measure.ratio(rounds, f"{what}: powdo", f"{what}: {peer}")
                measure.plain(f"{what}: powdo / {peer}", value)


if __name__ == "__main__":
    main()
