"""Foreign parts that some tests need. A test without its part is skipped, which CI forbids (conftest.py)."""

from __future__ import annotations

import shutil

import pytest


def need(present: object, what: str) -> None:
    """Skip the test when *what* is not there."""
    if not present:
        pytest.skip(f"{what} is missing")


def needed(program: str) -> str:
    """Return the path of *program*; skip where it is not installed."""
    path = shutil.which(program)
    need(path, program)
    return str(path)
