"""The miner for machines without the C extension: hashlib, in one process a core, since it holds the GIL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import powdo
from powdo.nips.pow_search import Slice
from powdo.nips.pow_template import Template

NAME = "hashlib"
#: A process ends a slice by the clock alone, so that is how long stopping takes.
_LONGEST = 0.05


class HashingMiner:
    """Processes that are started for the first slice."""

    def __init__(self, workers: int) -> None:
        self.name = NAME
        self.workers = workers
        self._processes: list[subprocess.Popen[str]] = []
        self._stopped = False

    def work(self, template: Template, first: int, seconds: float) -> Slice:
        """Return what all processes did in *seconds*; process n takes every nth turn."""
        attempts = turns = 0
        nonce = None
        while nonce is None and seconds > 0 and not self._stopped:
            try:
                done = self._work(template, first + turns, min(seconds, _LONGEST))
            except (OSError, ValueError):
                self._end()  # the others' answers would be taken for those to the next slice
                raise
            attempts, turns, nonce = attempts + done.attempts, turns + done.turns, done.nonce
            seconds -= _LONGEST
        return Slice(attempts, turns, nonce)

    def _work(self, template: Template, first: int, seconds: float) -> Slice:
        if not self._processes:
            self._processes = [self._start() for _ in range(self.workers)]
        job = [template.head.hex(), template.tail.hex(), template.digits, template.target]
        for number, process in enumerate(self._processes):
            assert process.stdin is not None
            process.stdin.write(json.dumps([*job, first + number, self.workers, seconds]) + "\n")
            process.stdin.flush()
        results = [self._answer(process) for process in self._processes]
        nonce = next((nonce for _, _, nonce in results if nonce is not None), None)
        turns = (max(turns for _, turns, _ in results) + 1) * self.workers
        return Slice(sum(attempts for attempts, _, _ in results), turns, nonce)

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> tuple[int, int, int | None]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BrokenPipeError("a process of the miner has ended")
        attempts, turns, nonce = json.loads(line)
        return attempts, turns, nonce

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        """Start a process that knows nothing of our environment but where powdo is."""
        here = str(Path(powdo.__file__).parent.parent)
        return subprocess.Popen(
            [sys.executable, "-c", "from powdo.adapters.miner.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.defpath, "PYTHONPATH": here},
            cwd="/",
        )

    def stop(self) -> None:
        """End the slice under way within _LONGEST, and those to come."""
        self._stopped = True

    def resume(self) -> None:
        """Let slices be worked again."""
        self._stopped = False

    def close(self) -> None:
        """Stop, and end the processes."""
        self.stop()
        self._end()

    def _end(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()
