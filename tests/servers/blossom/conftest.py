from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blossom_server import ANA, BEN, Blossom, running


@pytest.fixture(scope="module")
def blossom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blossom]:
    """Run a server for ana and ben that takes up to 1 MiB."""
    allow = (ANA.pubkey, BEN.pubkey)
    with running(tmp_path_factory.mktemp("blossom"), allow=allow, max_size=1 << 20) as server:
        yield server
        assert server.warnings == []
