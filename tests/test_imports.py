"""What each command may import: modules are counted, since seconds differ from machine to machine."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from powdo import cli

#: Modules that a help text may need besides click's own; about 30 do.
HELP = 45
#: `demo` also loads what starts the other commands.
DEMO = 65
HEAVY = {
    "PIL", "aiohttp", "alembic", "coincurve", "cryptography", "jeepney", "mss", "nacl", "nostr", "pyzipper",
    "requests", "sqlalchemy", "tabulate", "websockets",
}  # fmt: skip
#: What a filter that gets no record has use for all the same.
IDLE = {
    "bundle": set(),
    "upload": set(),
    "wrap": {"coincurve", "nostr"},  # checks the npub of its recipient
    "publish": set(),
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
    assert {name.partition(".")[0] for name in found} & HEAVY <= IDLE[stage]
