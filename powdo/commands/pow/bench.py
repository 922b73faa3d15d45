"""`powdo pow bench`: how fast this machine mines, and what that buys."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.pow.group import miner_options, proof
from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.nips.pow_search import Miner

#: A short note, a gift wrap of a few words, powdo's own gift wraps, and more.
_SIZES = (300, 1024, 2560, 8192, 65536)


@command("bench", parent=proof, epilog="powdo pow bench --json | jq 'select(.fastest and .bytes == 2560)'")
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 60),
    default=0.3,
    show_default=True,
    metavar="S",
    help="Try each for S.",
)
@miner_options
@report_options
def bench(
    run: Run, seconds: float, threads: int | None, kernel: str | None, json: bool, headers: bool
) -> None:
    """Measure this machine's attempts a second by kernel and size of the event.

    `bits_1s` and `bits_10s` are the bits that take 1 and 10 seconds on average; one time in three it takes
    longer, one in twenty three times as long. Times are by the clock: other work on the machine shows.
    """
    from powdo.adapters.miner import available, make_miner
    from powdo.adapters.miner.choosing import fastest

    chosen = kernel or fastest()
    rows: list[dict[str, Any]] = []
    for name in (kernel,) if kernel else available():
        with closing(make_miner(name, threads)) as miner:
            for size in _SIZES:
                row = _row(miner, size, seconds) | {"fastest": name == chosen}
                if json:
                    run.emit(row)
                rows.append(row)
    if not json:
        run.table([_shown(row) for row in rows], json=False, headers=headers)


def _row(miner: Miner, size: int, seconds: float) -> dict[str, Any]:
    from powdo.nips.pow_odds import affordable
    from powdo.nips.pow_template import sized

    template = sized(size)
    miner.work(template, template.turns.start, 0.01)  # starts threads and processes
    begin = time.monotonic()
    done = miner.work(template, template.turns.start, seconds)
    rate = done.attempts / (time.monotonic() - begin)
    return {
        "kernel": miner.name,
        "threads": miner.workers,
        "bytes": size,
        "blocks": template.blocks,
        "rate": round(rate),
        "bits_1s": round(affordable(rate, 1), 1),
        "bits_10s": round(affordable(rate, 10), 1),
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    from powdo.mining import short

    return row | {"rate": f"{short(row['rate'])}H/s", "fastest": "*" if row["fastest"] else ""}
