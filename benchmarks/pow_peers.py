"""Other miners, each of which says how many CPU seconds a million attempts took it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from powdo.adapters.miner import worker
from powdo.nips.event import Unsigned
from powdo.nips.pow_template import MAX_TARGET, make_template

ROOT = Path(__file__).resolve().parent.parent
_NODE_MODULES = ROOT / "tests" / "real" / "node_modules"
_SECONDS = 0.3
_NOSTR_TOOLS = """
import { minePow } from 'nostr-tools/nip13';
const [bits, times] = process.argv.slice(1).map(Number), event = JSON.parse(process.argv[3] ?? '{}');
let attempts = 0;
const once = () => Number(minePow(structuredClone(event), bits).tags.at(-1)[1]);
once();
const begin = process.cpuUsage();
for (let i = 0; i < times; i++) attempts += once();
const { user, system } = process.cpuUsage(begin);
console.log(JSON.stringify([attempts, (user + system) / 1e6]));
"""

Work = Callable[[], float]


def hashlib(event: Unsigned) -> Work:
    """Return hashlib with the state before the nonce kept: what powdo does without its extension."""
    template = make_template(event, MAX_TARGET)

    def work() -> float:
        begin = time.thread_time()
        attempts, _, _ = worker.scan(
            template.head, template.tail, template.digits, MAX_TARGET, template.turns.start, 1, _SECONDS
        )
        return (time.thread_time() - begin) / attempts * 1e6

    return work


def nostr_sdk(event: Unsigned) -> Work | None:
    """Return nostr-sdk's miner in one thread, which counts its nonces from 1; None where it is missing."""
    try:
        import nostr_sdk as sdk
    except ModuleNotFoundError:
        return None
    unsigned = sdk.UnsignedEvent.from_json(json.dumps(event.to_json()))
    adapter = sdk.SingleThreadPow()

    def work() -> float:
        begin, attempts = time.process_time(), 0
        while time.process_time() - begin < _SECONDS:
            mined = json.loads(unsigned.mine(adapter, 13).as_json())
            attempts += int(mined["tags"][-1][1])
        return (time.process_time() - begin) / attempts * 1e6

    return work


def nostr_tools(event: Unsigned) -> Work | None:
    """Return npm's nostr-tools under node; None where either is missing."""
    if shutil.which("node") is None or not (_NODE_MODULES / "nostr-tools").is_dir():
        return None
    times = "40" if len(event.content) < 1000 else "10"
    arguments = ["node", "--input-type=module", "-e", _NOSTR_TOOLS, "10", times, json.dumps(event.to_json())]

    def work() -> float:
        done = subprocess.run(arguments, cwd=_NODE_MODULES, capture_output=True, check=True)
        attempts, seconds = json.loads(done.stdout)
        return float(seconds) / attempts * 1e6

    return work


def nostril(event: Unsigned) -> Work | None:
    """Return the nostril that NOSTRIL names, which makes an event of the same length; None without one."""
    program = os.environ.get("NOSTRIL")
    if program is None:
        return None
    content = "x" * len(event.content)

    def work() -> float:
        before, attempts = resource.getrusage(resource.RUSAGE_CHILDREN), 0
        for number in range(8):
            done = subprocess.run(
                [program, "--pow", "13", "--kind", "1", "--content", f"{number}{content[1:]}"],
                capture_output=True,
                check=True,
            )
            tags = json.loads(done.stdout[done.stdout.index(b"{") :])["tags"]
            attempts += int(next(tag[1] for tag in tags if tag[0] == "nonce")) + 1
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return seconds / attempts * 1e6

    return work
