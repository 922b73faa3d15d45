from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blossom_server import ANA, BEN, Blossom, running
from tests.servers.blossom.origin import DATA, Origin, serving


@pytest.fixture(scope="module")
def blossom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blossom]:
    """Run a server for ana and ben that takes up to 1 MiB."""
    allow = (ANA.pubkey, BEN.pubkey)
    with running(tmp_path_factory.mktemp("blossom"), allow=allow, max_size=1 << 20) as server:
        yield server
        assert server.warnings == []


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Run an origin that has the blob as a zip."""
    with serving() as made:
        made.says(DATA, "Content-Type: application/zip")
        yield made


@pytest.fixture
def mirroring(tmp_path: Path, origin: Origin) -> Iterator[Blossom]:
    """Run a server for ana and ben that mirrors from *origin*, and is not patient."""
    options = {"allow": (ANA.pubkey, BEN.pubkey), "max_size": 1 << 20, "idle_timeout": 1.0}
    with running(tmp_path / "mirror", mirror_hosts=(origin.url,), **options) as server:
        yield server
        assert server.warnings == []
