"""The group `powdo pow`; its commands stand in the modules beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from powdo.options import group

F = TypeVar("F", bound=Callable[..., Any])
#: No machine will do more within this universe's patience.
MAX_BITS = 128


@group("pow")
def proof() -> None:
    """Mine proof of work, check it, and mine for others."""


def miner_options(function: F) -> F:
    """Add --threads and --kernel, as `threads` and `kernel` or None."""
    function = click.option(
        "--kernel",
        metavar="NAME",
        help="Mine with NAME instead of the fastest: sha-ni, avx2, avx512, scalar, hashlib.",
    )(function)
    return click.option(
        "--threads", type=click.IntRange(1, 1024), metavar="N", help="Use N cores instead of all."
    )(function)


def nice_option(function: F) -> F:
    """Add --nice, as `nice`."""
    return click.option(
        "--nice",
        type=click.IntRange(0, 19),
        default=0,
        metavar="N",
        help="Let others go first, as nice(1) does.",
    )(function)
