from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from powdo.commands.unwrap import unwrap
from powdo.nips.event import Unsigned
from powdo.records import encode_line
from tests.dvm import ANA, BEN, DVM, NOW, BlobServer, JsonEvent, gift, operator


@pytest.fixture(autouse=True)
def dvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this an operator's machine."""
    made = operator(tmp_path, BlobServer("http://127.0.0.1:1"))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)


def run(folder: Path, *events: JsonEvent) -> int:
    """Return the status of `powdo unwrap` over *events*."""
    file = folder / "events.jsonl"
    file.write_bytes(b"".join(map(encode_line, events)))
    status: int = unwrap.main([str(file)], standalone_mode=False).console.status
    return status


def test_a_rumor_is_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The rumor comes out as it was sealed, with its id and without a signature."""
    rumor = Unsigned(ANA.pubkey, NOW, 14, (("p", DVM.pubkey),), "hello ♥")
    assert run(tmp_path, gift(rumor)) == 0
    assert json.loads(capfd.readouterr().out) == json.loads(json.dumps(rumor.to_json()))


def test_what_does_not_hold_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Forged, foreign and expired wraps are told by their line; the good one between them is written."""
    rumor = Unsigned(ANA.pubkey, NOW, 14, (), "hello")
    forged = gift(rumor) | {"sig": "0" * 128}
    foreign = gift(rumor, recipient=BEN.pubkey)
    expired = gift(rumor, expiration=int(time.time()) - 5)
    assert run(tmp_path, forged, foreign, gift(rumor), expired) == 76
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 1
    assert [f"line {number}: " in err for number in (1, 2, 3, 4)] == [True, True, False, True]
