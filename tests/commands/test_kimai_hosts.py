"""`powdo kimai-sync` on several hosts that share one PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from powdo.adapters.database import Database
from tests.postgresql import empty_database, postgresql

__all__ = ["postgresql"]

_CONFIG = """
[dvm]
database = "{url}"

[kimai]
url = "http://127.0.0.1:9"

[[rule]]
name = "all"
project = "Shop"
activity = "Development"
"""


def test_one_host_syncs_at_a_time(
    own_world: Path, powdo: Callable[..., CompletedProcess[bytes]], request: pytest.FixtureRequest
) -> None:
    """While another host syncs a run ends with 75; once that is over, or its host gone, it goes on."""
    url = empty_database(request.getfixturevalue("postgresql"))
    config = own_world / "powdo.toml"
    config.write_text(_CONFIG.format(url=url))
    config.chmod(0o600)
    elsewhere = Database(url)
    with elsewhere.alone("kimai-sync"):
        done = powdo("kimai-sync", "--pending", env={"POWDO_KIMAI_TOKEN": "alice"})
        assert done.returncode == 75
        assert b"another kimai-sync is running on this database" in done.stderr
    elsewhere.close()
    done = powdo("kimai-sync", "--pending", env={"POWDO_KIMAI_TOKEN": "alice"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
