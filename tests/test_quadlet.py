"""The container units of Kimai in contrib/quadlet: what can be checked of them without Podman."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.parts import needed

FILES = sorted((ROOT / "contrib/quadlet").iterdir())
#: The keys of podman-systemd.unit(5), Podman 5, that the files may use; a typing error is none of them.
KEYS = {
    "Container": {
        *(
            "ContainerName",
            "Environment",
            "Exec",
            "HealthCmd",
            "HealthInterval",
            "HealthStartPeriod",
            "Image",
        ),
        *("NoNewPrivileges", "Notify", "Pod", "Secret", "Volume"),
    },
    "Pod": {"PodName", "PublishPort"},
    "Volume": {"VolumeName"},
}


def _sections(file: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the keys and values of each section of *file*."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in file.read_text().splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            section = found.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals and value and key == key.strip(), line
            section.append((key, value))
    return found


def _values(file: Path, section: str, key: str) -> list[str]:
    return [value for name, value in _sections(file).get(section, []) if name == key]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_keys_are_known_and_files_exist(file: Path) -> None:
    """Each file has the section of its kind with keys that Podman knows, and names files that are there."""
    kind = file.suffix[1:].capitalize()
    sections = _sections(file)
    assert kind in sections and set(sections) <= {"Unit", "Service", "Install", kind}
    assert {key for key, _ in sections[kind]} <= KEYS[kind]
    names = {path.name for path in FILES}
    for volume in _values(file, "Container", "Volume"):
        assert volume.partition(":")[0] in names
    assert set(_values(file, "Container", "Pod")) <= names
    for image in _values(file, "Container", "Image"):
        assert re.fullmatch(r"docker\.io/[a-z0-9]+/[a-z0-9]+:[a-z]*-?\d+\.\d+(\.\d+)?", image)


def test_nothing_listens_beyond_loopback() -> None:
    """Every published port is on loopback, and the database listens on that of its pod."""
    ports = [value for file in FILES for value in _values(file, "Pod", "PublishPort")]
    assert ports == ["127.0.0.1:8001:8001"]
    assert all("PublishPort" not in path.read_text() for path in FILES if path.suffix == ".container")
    assert _values(ROOT / "contrib/quadlet/kimai-database.container", "Container", "Exec") == [
        "--bind-address=127.0.0.1"
    ]


def test_secrets_are_secrets() -> None:
    """No password stands in a file; each secret that a container takes is made by the lines of the pod."""
    told = (ROOT / "contrib/quadlet/kimai.pod").read_text()
    taken = {value.partition(",")[0] for file in FILES for value in _values(file, "Container", "Secret")}
    assert taken == set(re.findall(r"podman secret create (\S+) -", told))
    for file in FILES:
        for value in _values(file, "Container", "Environment"):
            assert not re.search(r"(PASSWORD|PASS|SECRET|URL)=(?!1$)", value), value


def test_the_service_parts_are_valid(tmp_path: Path) -> None:
    """Systemd finds nothing to complain of in the sections that Podman passes on."""
    names = []
    for file in FILES:
        if file.suffix != ".container":
            continue
        lines = ["[Service]", "ExecStart=/bin/true"]
        for section in ("Unit", "Service", "Install"):
            lines += [f"[{section}]", *(f"{key}={value}" for key, value in _sections(file)[section])]
        unit = tmp_path / f"{file.stem}.service"
        unit.write_text("\n".join(lines) + "\n")
        names.append(str(unit))
    done = subprocess.run(
        [needed("systemd-analyze"), "verify", *names], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "kimai" in line] == []
