"""The command line as a whole: help, usage errors, completions, and what each command imports."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from powdo import cli

HEAVY = (
    "PIL", "aiohttp", "alembic", "coincurve", "cryptography", "mss", "nacl", "nostr", "platformdirs",
    "pyzipper", "requests", "sqlalchemy", "sqlite3", "tabulate", "websockets",
)  # fmt: skip
SHARED = ("--config", "--help", "--profile", "--quiet", "-c", "-h", "-p", "-q", "-v")


def _walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _walk(command, (*path, name))
        else:
            yield (*path, name), command


def _commands() -> list[tuple[tuple[str, ...], click.Command]]:
    return list(_walk(cli.group))


def test_the_overview_says_what_the_commands_say():
    """The summary of each command in the overview is the first line of its own help."""
    for name, summary in cli.COMMANDS.items():
        module = importlib.import_module(f"powdo.commands.{name.replace('-', '_')}")
        command = getattr(module, name.replace("-", "_"))
        assert command.name == name
        assert (command.help or "").strip().splitlines()[0] == summary


def test_every_command_has_the_shared_flags_and_a_pipeline():
    """-h, -c, -p, -q and -v stand on each command, and its help ends with an example that names it."""
    for path, command in _commands():
        parent = click.Context(cli.group, info_name=" ".join(("powdo", *path[:-1])))
        context = command.make_context(path[-1], [], parent=parent, resilient_parsing=True)
        flags = {flag for option in command.get_params(context) for flag in option.opts}
        assert flags.issuperset(SHARED), path
        text = command.get_help(context)
        assert "\nExamples:\n" in text, path
        examples = text.split("\nExamples:\n")[1]
        assert "powdo " + " ".join(path) in examples, path
        for option in command.params:
            assert isinstance(option, click.Argument) or getattr(option, "help", None), (path, option.name)


def test_help_of_every_command_needs_nothing_heavy():
    """`powdo X --help` imports click and the shell of X, no library that X works with."""
    program = (
        "import json, os, sys\n"
        "from powdo import cli\n"
        "heavy, paths = json.loads(sys.argv[1])\n"
        "for path in paths:\n"
        "    if pid := os.fork():\n"
        "        if os.waitpid(pid, 0)[1]: sys.exit(f'{path} failed')\n"
        "        continue\n"
        "    out = os.dup(1); os.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n"
        "    status = cli._run([*path, '--help'])\n"
        "    sys.stdout.flush()\n"
        "    found = [name for name in heavy if name in sys.modules]\n"
        "    if found: os.write(out, f'{path}: {found}\\n'.encode())\n"
        "    os._exit(status)\n"
    )
    paths = [path for path, _ in _commands()]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps([HEAVY, paths])],
        capture_output=True,
        timeout=120,
        text=True,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_overview_imports_no_command():
    """`powdo --help` imports none of what it lists."""
    program = (
        "import sys; from powdo import cli\n"
        "assert cli._run(['--help']) == 0\n"
        "sys.stderr.write(' '.join(m for m in sys.modules if m.startswith('powdo.commands')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, text=True)
    assert done.stderr == ""
    for name, summary in cli.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert summary.split()[-1] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["nope"], "powdo: error: no such command 'nope'", "powdo: hint: see 'powdo --help'"),
        (["--nope"], "powdo: error: no such option", "powdo: hint: flags stand after the command"),
        (["wrap", "--nope"], "powdo wrap: error: no such option", "powdo wrap: hint: see 'powdo wrap -"),
        (["upolad"], "powdo: error: no such command 'upolad'; did you mean 'upload'?", "powdo: hint: see"),
        (["keys", "shwo"], "powdo keys: error: no such command 'shwo'; did you mean 'show'?", "powdo keys: "),
        (["keys", "nope"], "powdo keys: error: no such command 'nope'", "powdo keys: hint: see 'powdo"),
        (
            ["publish", "--timeout", "never"],
            "powdo publish: error: invalid value for '--timeout'",
            "powdo publish: hint: see 'powdo publish --help'",
        ),
        (
            ["report", "--html"],
            "powdo report: error: option '--html' requires an argument",
            "powdo report: hint: see 'powdo report --help'",
        ),
        (["keys", "show"], "powdo keys show: error: missing argument 'NAME'", "powdo keys show: hint: see"),
        (
            ["keys", "show", "--hex", "--json", "a"],
            "powdo keys show: error: --hex and --json exclude each",
            "powdo keys show: hint: ",
        ),
    ],
)  # fmt: skip
def test_usage_errors_are_told_in_our_shape_with_status_2(powdo, arguments, error, hint):
    """The command line's mistakes read as all others do: no capital, no full stop, and a hint."""
    done = powdo(*arguments)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert done.stdout == b""
    assert len(lines) == 2
    assert lines[0].startswith(error)
    assert not lines[0].endswith(".")
    assert lines[1].startswith(hint)


def test_a_group_lists_its_commands_by_whole_sentences():
    """At 80 columns each sub-command's first sentence stands in the help of its group, uncut."""
    groups = {path[0] for path, _ in _commands() if len(path) > 1}
    assert "keys" in groups
    for name in groups:
        made = cli.group.get_command(click.Context(cli.group), name)
        assert isinstance(made, click.Group)
        text = " ".join(made.get_help(click.Context(made, info_name=name, terminal_width=80)).split())
        for command in made.commands.values():
            sentence = " ".join((command.help or "").partition("\n\n")[0].split())
            first = sentence.partition(". ")[0].rstrip(".")
            assert first and f" {command.name} {first}." in text, (name, command.name)
        assert "..." not in text.partition(" Commands: ")[2]


def test_no_command_shows_the_overview_as_an_error(powdo):
    """`powdo` alone, and a group alone, say on stderr what there is, and end in 2."""
    for arguments in ((), ("keys",)):
        done = powdo(*arguments)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"Commands:" in done.stderr


def test_version(powdo):
    """--version names program and version."""
    from powdo import __version__

    done = powdo("--version")
    assert (done.returncode, done.stdout) == (0, f"powdo {__version__}\n".encode())


def test_completions(powdo):
    """A shell that asks gets the script, and the names that fit."""
    script = powdo(env={"_POWDO_COMPLETE": "bash_source"})
    assert script.returncode == 0
    assert b"_powdo_completion" in script.stdout
    for words, found in (("powdo wr", b"plain,wrap\n"), ("powdo keys sh", b"plain,show\n")):
        done = powdo(
            env={"_POWDO_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        )
        assert (done.returncode, done.stdout) == (0, found)


def test_the_configuration_is_read_only_when_needed(powdo, own_world):
    """Help works with a broken configuration; a command that needs it ends in 78."""
    (own_world / "powdo.toml").write_text("[worker\n")
    assert powdo("wrap", "--help").returncode == 0
    done = powdo("keys", "list")
    assert done.returncode == 78
    assert done.stderr.startswith(b"powdo keys list: error: cannot read '")


def test_a_configuration_named_by_flag_must_be_there(powdo, own_world):
    """--config FILE insists on the file; POWDO_CONFIG and the default place do not."""
    missing = str(own_world / "no.toml")
    done = powdo("keys", "list", "--config", missing)
    assert done.returncode == 78
    assert done.stderr.startswith(f"powdo keys list: error: cannot open '{missing}'".encode())
    assert powdo("keys", "list", env={"POWDO_CONFIG": missing}).returncode == 0


def test_what_is_not_confirmed_is_no_bug(monkeypatch, capsys):
    """Who answers no ends the command in 2, and is told that nothing was changed."""

    def refuse(*_: object, **__: object) -> None:
        raise click.Abort

    monkeypatch.setattr(cli.group, "invoke", refuse)
    assert cli._run(["keys", "list"]) == 2
    assert capsys.readouterr().err == "powdo: error: not confirmed\npowdo: hint: nothing was changed\n"


def test_a_log_on_a_full_disk_changes_no_status(powdo, tmp_path, monkeypatch):
    """What cannot be said on stderr is not said; the status is the command's own."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # which leaves nothing to be written at the end
    with Path("/dev/full").open("wb") as full:
        assert powdo("wrap", str(tmp_path / "none"), stderr=full).returncode == 78
        assert powdo("pow", "check", str(tmp_path / "none"), stderr=full).returncode == 66
