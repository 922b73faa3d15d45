"""How an asyncio command ends by a signal."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from powdo import loops
from powdo.signals import Terminated


def test_a_signal_lets_main_clean_up_and_is_raised_afterwards() -> None:
    """SIGTERM sets the event, main ends in its own time, then Terminated tells the signal."""
    steps = []

    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        await asyncio.sleep(0.01)
        steps.append("cleaned up")

    with pytest.raises(Terminated) as ended:
        loops.run(main)
    assert ended.value.signum == signal.SIGTERM
    assert steps == ["cleaned up"]


def test_a_second_signal_does_not_wait() -> None:
    """A main that hangs in its clean-up is cancelled by the second signal."""

    async def main(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

    with pytest.raises(Terminated) as ended:
        loops.run(main)
    assert ended.value.signum == signal.SIGINT


def test_an_error_of_main_comes_through() -> None:
    """Without a signal main's own end counts."""

    async def fine(_stop: asyncio.Event) -> None:
        await asyncio.sleep(0)

    async def broken(_stop: asyncio.Event) -> None:
        raise LookupError

    loops.run(fine)
    with pytest.raises(LookupError):
        loops.run(broken)
