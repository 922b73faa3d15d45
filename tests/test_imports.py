"""What each command may import: modules are counted, since seconds differ from machine to machine."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from powdo import cli
from powdo.lines import encode_line
from powdo.records import Bundle

#: Modules that a help text may need besides click's own; 25 do, 31 where nothing loads paths before us.
HELP = 40
#: `demo` also loads what starts the other commands.
DEMO = 55
#: What one record through `wrap` needs: settings, keystore, outbox, and both libraries for the cryptography.
RECORD = 125
HEAVY = {
    "PIL", "aiohttp", "alembic", "coincurve", "cryptography", "jeepney", "jinja2", "mss", "nacl", "nostr",
    "pyzipper", "requests", "sqlalchemy", "tabulate", "websockets",
}  # fmt: skip
#: What a filter that gets no record has use for all the same, and how many modules.
IDLE = {
    "bundle": (set(), 65),
    "upload": (set(), 65),
    "wrap": ({"coincurve", "nostr"}, 80),  # checks the npub of its recipient
    "publish": (set(), 50),
}

#: What commands of a set-up worker need that find nothing to do: libraries (`nostr` reads the DVM's npub in
#: the settings), and how many modules.
QUIET = {
    "status": ({"nostr", "tabulate"}, 130),
    "status --json": ({"nostr"}, 65),
    "today --json": ({"nostr"}, 65),
    "pause --for 1s": ({"nostr"}, 65),
    "resume": ({"nostr"}, 65),
    "outbox list --json": ({"nostr"}, 65),
    "outbox release --all": ({"nostr"}, 65),
    "capture --no-activity --no-screenshots": ({"nostr"}, 80),
    "bundle --pending /dev/null": ({"nostr"}, 65),
    "upload --pending /dev/null": ({"nostr"}, 65),
    "publish --pending /dev/null": ({"nostr"}, 65),
    "wrap --pending /dev/null": ({"coincurve", "cryptography", "nostr"}, 110),  # has the keys ready
}

_PROGRAM = """
import click, json, os, sys
before = set(sys.modules)
from powdo import cli
def shown(arguments):
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.dup2(0, 2)
        cli._run(arguments)
        with os.fdopen(write, "w") as file:
            json.dump(sorted(set(sys.modules) - before), file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        found = json.load(file)
    os.waitpid(pid, 0)
    return found
json.dump([shown(arguments) for arguments in json.loads(sys.argv[1])], sys.stdout)
"""


def imported(*runs: list[str]) -> list[list[str]]:
    """Return the modules that each of *runs* imports besides those of click."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(runs)], capture_output=True, timeout=120, check=True
    )
    found: list[list[str]] = json.loads(done.stdout)
    return found


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[list[str]]:
    """Return the words of every command below *group*."""
    context = click.Context(group)
    result: list[list[str]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            result += commands(command, (*path, name))
        else:
            result.append([*path, name])
    return result


def test_help_imports_few_modules() -> None:
    """The help text of each command stays within a budget of modules."""
    paths = commands(cli.group)
    for path, found in zip(paths, imported(*([*path, "--help"] for path in paths)), strict=True):
        budget = DEMO if path == ["demo"] else HELP
        assert len(found) <= budget, (path, len(found), found)


def test_help_imports_one_command() -> None:
    """The help text of a command imports no other command, no adapter and no settings."""
    paths = commands(cli.group)
    for path, found in zip(paths, imported(*([*path, "--help"] for path in paths)), strict=True):
        own = f"powdo.commands.{path[0].replace('-', '_')}"
        others = [name for name in found if name.startswith("powdo.commands.") and not name.startswith(own)]
        assert others == [], path
        assert not [name for name in found if name.startswith(("powdo.adapters", "powdo.settings"))], path


@pytest.mark.parametrize("stage", IDLE)
def test_a_stage_without_work_imports_no_library_it_works_with(stage: str) -> None:
    """A filter that gets no record ends before it loads what only a record needs."""
    (found,) = imported([stage, "/dev/null"])
    needed, budget = IDLE[stage]
    assert {name.partition(".")[0] for name in found} & HEAVY <= needed
    assert len(found) <= budget, (len(found), found)


def test_a_worker_with_nothing_to_do_imports_no_library_it_works_with(powdo, own_world: Path) -> None:
    """The worker's commands load what shows, captures, encrypts and sends only once there is something."""
    places = ("--relay", "ws://127.0.0.1:9", "--blossom", "http://127.0.0.1:9")
    assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", f"{1:064x}", *places).returncode == 0
    for line, found in zip(QUIET, imported(*(line.split() for line in QUIET)), strict=True):
        needed, budget = QUIET[line]
        assert {name.partition(".")[0] for name in found} & HEAVY <= needed, line
        assert len(found) <= budget, (line, len(found), found)


def test_every_command_has_its_help_counted() -> None:
    """Commands are found by walking the group, and the walk leaves none out."""
    assert {path[0] for path in commands(cli.group)} == set(cli.COMMANDS)


def test_one_record_through_wrap_imports_few_modules(powdo, own_world: Path) -> None:
    """A gift wrap is made within a budget of modules, and no record's class besides those it reads."""
    assert powdo("init", "worker", "-q", "--user", "ana", "--dvm", f"{1:064x}").returncode == 0
    now = datetime.now(UTC)
    record = Bundle(
        id="one", sequence=1, device="d", begin=now, end=now, path="/nowhere", sha256="ab" * 32, ox="cd" * 32,
        size=65536, salt="00" * 16, key="0f" * 32, blobs=({"url": "https://blossom.example/x"},),
    )  # fmt: skip
    line = own_world / "bundle.jsonl"
    line.write_bytes(encode_line(record.to_json()))
    (found,) = imported(["wrap", str(line)])
    assert "powdo.nips.giftwrap" in found
    assert len(found) <= RECORD, (len(found), found)
    assert not {"powdo.records.network", "powdo.records.operator"} & set(found)
