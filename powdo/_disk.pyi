"""The C extension, which is there only where a compiler was (see csrc/disk.c)."""

from collections.abc import Sequence

def place(
    descriptor: int,
    pieces: Sequence[bytes] | None,
    temporary: str,
    path: str | None,
    directory: str | None,
    parent: str | None,
    /,
) -> None: ...
