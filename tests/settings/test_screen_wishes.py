"""How sharp and how large screenshots are, as the configuration has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from powdo.errors import ConfigurationError
from powdo.settings import load
from powdo.settings.schema import Capture


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path of the configuration."""
    path = tmp_path / "powdo.toml"
    monkeypatch.setenv("POWDO_CONFIG", str(path))
    return path


def capture(config: Path, line: str) -> Capture:
    """Return the section [capture] that *line* gives."""
    config.write_text(f"[capture]\n{line}\n")
    return load().capture


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("", 0),
        ("blur = false", 0),
        ("blur = true", 12),
        ("blur = 0", 0),
        ("blur = 2", 2),
        ("blur = 256", 256),
    ],
)
def test_blur(config: Path, line: str, value: int) -> None:
    """Squares have the side that is named, or one that leaves no text legible."""
    assert capture(config, line).blur == value


@pytest.mark.parametrize(("line", "value"), [("", 1.0), ("scale = 1", 1.0), ("scale = 0.1", 0.1)])
def test_scale(config: Path, line: str, value: float) -> None:
    """Screenshots are as large as the screen, or smaller."""
    assert capture(config, line).scale == value


@pytest.mark.parametrize(
    "line",
    [
        "blur = 1", "blur = 257", "blur = -2", "blur = 1.5", 'blur = "much"',
        "scale = 0", "scale = 0.09", "scale = 1.1", "scale = true", "scale = nan", 'scale = "half"',
    ],
)  # fmt: skip
def test_refused(config: Path, line: str) -> None:
    """Squares of one pixel hide nothing and an image without pixels shows nothing; neither is taken."""
    with pytest.raises(ConfigurationError) as caught:
        capture(config, line)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{config}: [capture] {line.partition(' ')[0]}: '")
