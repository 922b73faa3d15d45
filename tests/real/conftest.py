"""Foreign programs for the tests in this folder; without one its tests are skipped."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts import need

HERE = Path(__file__).parent


class ForeignError(Exception):
    """What the foreign implementation refused."""


class NostrTools:
    """nostr-tools in a node process; each method name is an operation of nostr_tools.mjs."""

    def __init__(self, node: str) -> None:
        self.process = subprocess.Popen(
            [node, str(HERE / "nostr_tools.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(self, operation: str, **request: Any) -> Any:
        """Return the answer to one request, raising ForeignError when nostr-tools raises."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"operation": operation, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the node process has died"
        answer = json.loads(line)
        if "error" in answer:
            raise ForeignError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=20)


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of node, with the packages of package.json beside the tests."""
    path = shutil.which("node")
    need(path, "node")
    need((HERE / "node_modules" / "nostr-tools").is_dir(), "'npm install' in tests/real")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def nostr_tools(node: str) -> Iterator[NostrTools]:
    """Return nostr-tools, running."""
    tools = NostrTools(node)
    yield tools
    tools.close()
