"""What a wheel holds."""

from __future__ import annotations

import configparser
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from powdo import __version__
from tests.conftest import ROOT
from tests.parts import need


def _recent_setuptools() -> bool:
    try:
        return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what packages are made of."""
    need(_recent_setuptools(), "setuptools 77 or later")
    need(shutil.which("gcc") is not None, "gcc")
    source = tmp_path_factory.mktemp("source")
    for name in ("powdo", "man", "contrib", "bin"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    return source


def build(source: Path, kind: str, folder: Path, **environment: str) -> Path:
    """Return the wheel or sdist that *source* makes, in *folder*."""
    program = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=source,
        capture_output=True,
        timeout=240,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder / done.stdout.decode().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Return the wheel that this checkout makes."""
    with zipfile.ZipFile(build(source, "wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


def test_every_module_and_data_file_is_in_the_wheel(wheel):
    """What stands under powdo/ is installed, sample data and the typing marker too."""
    names = set(wheel.namelist())
    for path in (ROOT / "powdo").rglob("*"):
        if path.is_file() and not {"__pycache__", "csrc"} & set(path.parts) and path.suffix != ".so":
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


@pytest.mark.parametrize("name", ["_miner", "_disk"])
def test_the_extensions_are_in_the_wheel_for_every_python(wheel: zipfile.ZipFile, name: str):
    """The wheel holds the C extensions for the stable ABI, and says so in its name."""
    assert f"powdo/{name}.abi3.so" in wheel.namelist()
    assert "-cp311-abi3-" in str(wheel.filename)
    assert wheel.getinfo(f"powdo/{name}.abi3.so").file_size < 200_000


def test_a_wheel_is_made_without_a_compiler_too(source: Path, tmp_path: Path):
    """Where the extensions cannot be built the package is whole but for them."""
    copy = shutil.copytree(source, tmp_path / "source", ignore=shutil.ignore_patterns("build"))
    wheel = build(copy, "wheel", tmp_path, CC="/bin/false", LDSHARED="/bin/false")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "powdo/cli.py" in names
    assert not [name for name in names if name.endswith(".so")]


def test_the_sdist_has_what_the_extensions_are_made_of(source: Path, tmp_path: Path):
    """Every C source and header, and the script that names them, is in the source distribution."""
    with tarfile.open(build(source, "sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"powdo/csrc/{path.name}" for path in (ROOT / "powdo" / "csrc").iterdir()} <= names
    assert {"setup.py", "setup.cfg", "pyproject.toml", "powdo/_miner.pyi", "powdo/_disk.pyi"} <= names


def test_packages_are_made_the_same_again(source: Path, tmp_path: Path):
    """With SOURCE_DATE_EPOCH two builds of the wheel, in two folders, are the same bytes."""
    found = []
    for name in ("one", "two"):
        copy = shutil.copytree(
            source, tmp_path / name / "powdo", ignore=shutil.ignore_patterns("build", "*.egg-info")
        )
        made = build(copy, "wheel", tmp_path / name, SOURCE_DATE_EPOCH="1700000000")
        found.append(hashlib.sha256(made.read_bytes()).hexdigest())
    assert found[0] == found[1]


def test_the_sdist_makes_the_same_wheel(source: Path, wheel: zipfile.ZipFile, tmp_path: Path):
    """What is installed from the source distribution is what is installed from a checkout."""
    made = build(source, "sdist", tmp_path)
    subprocess.run(["tar", "-xf", str(made), "-C", str(tmp_path)], check=True)
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    with zipfile.ZipFile(build(unpacked, "wheel", tmp_path)) as again:
        assert set(again.namelist()) == set(wheel.namelist())


def test_the_constraints_fit_what_is_required():
    """Each package that powdo needs has one version in the constraints, within the bounds of setup.cfg."""
    lines = (ROOT / "contrib/constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = config["options"]["install_requires"] + config["options.extras_require"]["postgresql"]
    for requirement in map(Requirement, filter(None, wanted.splitlines())):
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement
