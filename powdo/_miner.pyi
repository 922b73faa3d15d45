"""The C extension, which is there only where a compiler was (see csrc/miner.c)."""

def kernels() -> tuple[str, ...]: ...
def scan(
    kernel: str,
    message: bytes,
    offset: int,
    digits: int,
    bits: int,
    first: int,
    step: int,
    seconds: float,
    flags: bytearray,
    /,
) -> tuple[int, int, int]: ...
def hits(kernel: str, message: bytes, offset: int, digits: int, bits: int, high: int, /) -> list[int]: ...
