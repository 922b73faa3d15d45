"""What a wheel holds."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from powdo import __version__
from tests.conftest import ROOT
from tests.parts import need


def _recent_setuptools() -> bool:
    try:
        return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Return the wheel that this checkout makes."""
    need(_recent_setuptools(), "setuptools 77 or later")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "powdo"
    source.mkdir()
    for name in ("powdo", "man", "contrib", "bin"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    program = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=source, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    with zipfile.ZipFile(folder / f"powdo-{__version__}-py3-none-any.whl") as archive:
        yield archive


def test_every_module_and_data_file_is_in_the_wheel(wheel):
    """What stands under powdo/ is installed, sample data and the typing marker too."""
    names = set(wheel.namelist())
    for path in (ROOT / "powdo").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names


def test_pages_units_and_scripts_are_in_the_wheel(wheel):
    """Every man page, unit, crontab and pipeline script is installed where it is looked for."""
    names = set(wheel.namelist())
    data = f"powdo-{__version__}.data"
    wanted = {f"{data}/scripts/{name}" for name in ("powdo-client", "powdo-server")}
    for folder, place in (("contrib/systemd", "powdo/systemd"), ("contrib/cron", "powdo/cron")):
        wanted |= {f"{data}/data/share/{place}/{path.name}" for path in (ROOT / folder).iterdir()}
    for place in ("bash-completion/completions/powdo", "zsh/site-functions/_powdo"):
        wanted.add(f"{data}/data/share/{place}")
    wanted.add(f"{data}/data/share/fish/vendor_completions.d/powdo.fish")
    for page in (ROOT / "man").iterdir():
        wanted.add(f"{data}/data/share/man/man{page.suffix[1:]}/{page.name}")
    assert any(Path(name).suffix == ".1" for name in wanted)
    assert wanted <= names


def test_the_entry_point_and_the_metadata(wheel):
    """The command is powdo, the licence MIT, and nothing of the tests is installed."""
    info = f"powdo-{__version__}.dist-info"
    assert "powdo = powdo.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert f"Version: {__version__}\n" in metadata
    assert "License-Expression: MIT\n" in metadata
    assert "Requires-Dist: click>=8" in metadata
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in wheel.namelist())
