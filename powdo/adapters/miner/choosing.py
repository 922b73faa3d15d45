"""Which kernel is the fastest on this processor, and how many cores there are for us.

CPUID tells what can run, not what is fast: an instruction that one processor begins each cycle keeps another
busy for four. So the kernels that can run are tried for a few milliseconds.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from powdo.adapters.miner import worker
from powdo.adapters.miner.hashing import NAME as HASHLIB
from powdo.adapters.miner.hashing import HashingMiner
from powdo.adapters.miner.native import NativeMiner, kernels, scan_once
from powdo.errors import ConfigurationError
from powdo.nips.event import Unsigned
from powdo.nips.pow_search import Miner
from powdo.nips.pow_template import make_template
from powdo.settings import environment

#: Every kernel there is, on whatever processor.
CHOICES = ("sha-ni", "avx2", "avx512", "scalar", HASHLIB)
VARIABLE = "POWDO_MINER"
_TRIAL = 0.003
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_IMPOSSIBLE = 256


def available() -> tuple[str, ...]:
    """Return the kernels that can be chosen here; `hashlib` always can."""
    return (*kernels(), HASHLIB)


def cores() -> int:
    """Return how many cores we may use: those we are bound to, and no more than our cgroup's share."""
    bound = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_MAX.read_text().split()
        share = bound if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        share = bound
    return max(1, min(bound, share))


def make_miner(kernel: str | None = None, threads: int | None = None) -> Miner:
    """Return a miner with *threads* of *kernel*.

    By default it has all cores, and the kernel that POWDO_MINER names or that is fastest.

    Raises:
        ConfigurationError: this machine does not have that kernel.
    """
    kernel = kernel or environment.variables().get(VARIABLE) or fastest()
    if kernel not in available():
        raise ConfigurationError(
            f"there is no kernel '{kernel}' on this machine", hint=f"there are: {', '.join(available())}"
        )
    workers = threads or cores()
    return HashingMiner(workers) if kernel == HASHLIB else NativeMiner(kernel, workers)


def fastest() -> str:
    """Return the kernel that makes most attempts in a few milliseconds.

    The plain one competes with OpenSSL, which may have instructions for SHA-256 where ours has none.
    """
    vectors = [name for name in kernels() if name != "scalar"]
    if len(vectors) == 1:
        return vectors[0]
    return max(vectors or available(), key=_trial)


def _trial(kernel: str) -> float:
    """Return the attempts a second of one thread, at the size of a short note."""
    template = make_template(Unsigned("0" * 64, 0, 1, (), "x" * 150), _IMPOSSIBLE)
    first = template.turns.start
    begin = time.thread_time()
    scan = worker.scan if kernel == HASHLIB else partial(scan_once, kernel)
    attempts, _, _ = scan(template.head, template.tail, template.digits, _IMPOSSIBLE, first, 1, _TRIAL)
    return attempts / max(time.thread_time() - begin, 1e-6)
