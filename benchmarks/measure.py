"""What the benchmarks share: work taken in turns, counted in CPU seconds, told as ratios.

Rules:
- a figure is CPU time, of this thread or of a child it waited for: other work on the machine adds little;
- what is compared runs in the same round, and a ratio is the median of the rounds' ratios;
- a benchmark makes its own data and folder, needs no arguments and no network.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENTRY = "import sys; from powdo.cli import main; main()"

Rounds = Mapping[str, Sequence[float]]

sys.path.insert(0, str(ROOT))


def own(work: Callable[[], object]) -> float:
    """Return the CPU seconds that *work* takes in this thread; servers for it run in others."""
    before = time.thread_time()
    work()
    return time.thread_time() - before


def child(
    arguments: Sequence[str | Path], environment: Mapping[str, str], *, cwd: Path | None = None
) -> float:
    """Return the CPU seconds of one run of *arguments*, stdin empty. Raises: RuntimeError when it fails."""
    process = subprocess.Popen(
        arguments, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"{list(arguments)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def in_turns(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each of *works* says it took, in every one of *rounds* that run them all."""
    for work in works.values():
        work()  # what is made at the first use is not what is measured
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(work())
    return taken


def ratio(rounds: Rounds, one: str, other: str) -> float:
    """Return how many times the CPU time of *other* *one* takes."""
    return statistics.median(a / b for a, b in zip(rounds[one], rounds[other], strict=True))


def show(rounds: Rounds, unit: int = 1) -> None:
    """Write the median of each work, in milliseconds of CPU for one of the *unit* things it does."""
    for name, taken in rounds.items():
        write(f"{name:<52} {1000 * statistics.median(taken) / unit:10.3f} ms CPU")


def verdict(text: str, value: float, goal: str, *, met: bool) -> None:
    """Write one ratio beside its goal."""
    write(f"{text:<52} {value:10.2f} x   goal {goal:<8} {'met' if met else 'MISSED'}")


def at_least(text: str, value: float, goal: float) -> None:
    """Write a ratio that should be *goal* or more."""
    verdict(text, value, f">= {goal:g}", met=value >= goal)


def at_most(text: str, value: float, goal: float) -> None:
    """Write a ratio that should be *goal* or less."""
    verdict(text, value, f"<= {goal:g}", met=value <= goal)


def plain(text: str, value: float) -> None:
    """Write a ratio that has no goal."""
    write(f"{text:<52} {value:10.2f} x")


def write(text: str = "") -> None:
    """Write one line."""
    sys.stdout.write(f"{text}\n")


def headline(text: str) -> None:
    """Write what is measured, and on which machine."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpu_info() if line.startswith("model name")),
        "unknown CPU",
    )
    write(f"{text}\n{os.cpu_count()} cores, {model}, Python {platform.python_version()}\n")


def _cpu_info() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def stage(*arguments: str) -> list[str]:
    """Return the command line of `powdo` with *arguments*, run as its entry point runs it."""
    return [sys.executable, "-c", ENTRY, *arguments]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process whose world is *folder*, its modules compiled once."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return (
        kept
        | {
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
            "POWDO_CONFIG": str(folder / "powdo.toml"),
            "POWDO_STATE_DIR": str(folder / "state"),
            "POWDO_DATA_DIR": str(folder / "data"),
        }
        | more
    )
