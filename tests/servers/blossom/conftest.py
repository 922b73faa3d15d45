from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from blossom_server import ANA, BEN, Blossom, running  # found by the line above


@pytest.fixture(scope="module")
def blossom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blossom]:
    """Run a server for ana and ben that takes up to 1 MiB."""
    allow = (ANA.pubkey, BEN.pubkey)
    with running(tmp_path_factory.mktemp("blossom"), allow=allow, max_size=1 << 20) as server:
        yield server
        assert server.warnings == []
