"""The soak in short; soak.py runs it for as long as you like."""

from __future__ import annotations

from pathlib import Path

from tests.servers.blossom.soak import run


def test_ten_seconds_of_clients_that_are_killed(tmp_path: Path) -> None:
    """Nothing lost, nothing left over, nothing said, and memory flat within 10 MB."""
    soak = run(tmp_path / "data", seconds=10)
    assert soak.wrong == []
    assert min(soak.done[word] for word in ("upload", "read", "delete", "break off", "kill", "checked")) > 0
    assert soak.growth() < 10e6
    assert soak.descriptors[-1] <= 2  # what the first request opens for good
