"""The service killed at any moment: whatever was under way, the books balance, and nobody pays for nothing.

POWDO_POW_KILLS says how many kills; 12 by default, since each is a start of the program.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
from pathlib import Path

from websockets.exceptions import WebSocketException

from powdo.adapters.database.pow_books import Books
from powdo.nips.bech32 import encode_npub
from powdo.nips.event import Unsigned
from powdo.nips.pow import difficulty
from tests.pow_helpers import event
from tests.relay_helpers import Client, client, new_key

KILLS = int(os.environ.get("POWDO_POW_KILLS", "12"))
CREDIT = 10**15
PAYERS = [new_key() for _ in range(3)]


def served(powdo, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Return a service as a process of its own, and its address."""
    process = powdo.start(
        "pow", "serve", "--listen", "127.0.0.1:0", "--data", str(folder), "--threads", "1", stderr=None
    )
    line = process.stdout.readline()
    assert line, process.wait()
    return process, json.loads(line)["url"]


async def spend(line: Client, draw: random.Random, found: list[str]) -> None:
    """Ask for one thing after the other, some never found, and note what came, until the service is gone."""
    while True:
        target = draw.choice((8, 10, 14, 26))
        await line.say("POW", event(f"{draw.random()}"), target)
        if draw.random() < 0.3:
            await line.connection.close()
            return
        message = await line.hear(60)
        if message[0] == "POW":
            assert difficulty(Unsigned.from_json(message[1]).id) >= target
            found.append(message[1]["id"])


async def until_killed(process: subprocess.Popen[bytes], url: str, draw: random.Random) -> list[str]:
    """Return the ids of what clients got from the service until it was killed at a random moment."""
    found: list[str] = []

    async def one(key) -> None:
        while process.poll() is None:
            try:
                async with client(url, key) as line:
                    await spend(line, draw, found)
            except (WebSocketException, OSError, TimeoutError):
                return

    clients = [asyncio.ensure_future(one(key)) for key in PAYERS]
    await asyncio.sleep(draw.random() * 0.4)
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    await asyncio.gather(*clients)
    return found


def test_killed_at_any_moment_the_books_balance(powdo, tmp_path: Path) -> None:
    """After each kill and start all movements add up, and what was charged are found and cancelled jobs."""
    draw = random.Random(20261128)
    url = f"sqlite:///{tmp_path}/pow.sqlite"
    for key in PAYERS:
        credited = powdo(
            "pow", "credit", encode_npub(key.pubkey), str(CREDIT // 1000), "--data", str(tmp_path)
        )
        assert credited.returncode == 0, credited.stderr
    for _ in range(KILLS):
        process, address = served(powdo, tmp_path)
        with process:
            asyncio.run(until_killed(process, address, draw))
        books = Books(url)
        assert books.audit() == []
        books.close()
    process, address = served(powdo, tmp_path)
    process.terminate()
    with process:
        assert process.wait(30) == -signal.SIGTERM
    books = Books(url)
    assert books.audit() == []
    accounts = books.accounts()
    assert len(accounts) == len(PAYERS)
    for item in accounts:
        assert item.msat + item.charged == item.credited == CREDIT, "an open job was left"
    books.close()
    done = powdo("pow", "accounts", "--check", "--json", "--data", str(tmp_path))
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(PAYERS)
