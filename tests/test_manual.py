"""The manual and the program say the same: commands, flags, settings, records, statuses, examples."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path

import click
import pytest
from manual import MAN, commands, flags_in, flags_of, pages, powdo_lines

from powdo import cli, settings
from powdo.errors import SEVERITY
from powdo.records import Bundle, Capture, network, operator, receipt
from powdo.settings import kimai, parsing, retention, schema
from powdo.worktime.rules import Rule
from powdo.worktime.ruleset import parse_rules
from tests.parts import needed

PAGES = {page.path.name: page for page in pages()}
COMMANDS = dict(commands(cli.group))
SHARED = {"-h", "--help", "-c", "--config", "-p", "--profile", "-q", "--quiet", "-v", "--log-json"}
ORDER = (
    *("NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "FILES", "EXIT STATUS"),
    *("EXAMPLES", "DIAGNOSTICS", "SEE ALSO", "STANDARDS", "CAVEATS"),
)
SECTIONS = {
    kind.__name__.lower(): kind
    for kind in (
        *(schema.Identity, schema.Worker, schema.Capture, schema.Dvm),
        *(schema.Kimai, schema.Timesheets, schema.Relay, schema.Blossom, schema.Allow),
        schema.Pow,
    )
}
RECORDS = {
    kind.TYPE: kind
    for kind in (
        *(Capture, Bundle, network.Published, network.Listening),
        *(
            operator.Ingested,
            operator.Rejected,
            operator.Verified,
            operator.Chain,
            operator.Timesheet,
            operator.Synced,
        ),
        receipt.Receipt,
    )
}

every_page = pytest.mark.parametrize("name", PAGES)
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def _own(words: tuple[str, ...]) -> set[str]:
    return flags_of(COMMANDS[words]) - SHARED


# --- form ----------------------------------------------------------------------------------------


@every_page
def test_page_passes_mandoc(name: str) -> None:
    """Each page is mdoc without a warning."""
    done = subprocess.run(
        [needed("mandoc"), "-T", "lint", "-W", "warning", str(MAN / name)], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


@every_page
def test_page_passes_man(name: str) -> None:
    """Each page is formatted by man without a warning."""
    arguments = ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(MAN / name)]
    done = subprocess.run([needed("man"), *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@every_page
def test_page_is_found_by_apropos(name: str) -> None:
    """Name and summary of each page are read by lexgrog, so that apropos finds it."""
    done = subprocess.run([needed("lexgrog"), str(MAN / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert f'"{PAGES[name].name} - ' in done.stdout


@every_page
def test_page_has_its_sections_in_order(name: str) -> None:
    """The sections of each page stand in the fixed order, and those that a reader expects are there."""
    page = PAGES[name]
    found = list(page.sections)
    assert found == [title for title in ORDER if title in found]
    needed = {"NAME", "DESCRIPTION", "EXAMPLES", "SEE ALSO"}
    assert needed | ({"SYNOPSIS", "EXIT STATUS"} if name.endswith(".1") else set()) <= set(found)
    assert re.search(rf"^\.Nm {re.escape(page.name)}$", page.sections["NAME"].text, re.MULTILINE)


@every_page
def test_page_refers_to_pages_that_exist(name: str) -> None:
    """Every powdo page that a page refers to exists; SEE ALSO is sorted and names others only."""
    page = PAGES[name]
    for other, number in re.findall(r"\.Xr (powdo\S*) (\d)", page.source):
        assert f"{other}.{number}" in PAGES
    see_also = re.findall(r"\.Xr (\S+) (\d)", page.sections["SEE ALSO"].text)
    assert see_also == sorted(see_also, key=lambda entry: (entry[1], entry[0]))
    assert (page.name, name[-1]) not in see_also


# --- commands and flags --------------------------------------------------------------------------


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    """There is one page for each command of the overview, and none for a command that does not exist."""
    assert {f"powdo-{name}.1" for name in cli.COMMANDS} | {"powdo.1"} == {
        name for name in PAGES if name.endswith(".1")
    }


def test_overview_names_every_command() -> None:
    """powdo(1) lists every command with its page."""
    listed = [word for item in PAGES["powdo.1"].parts()["Commands"].items for word in item.words]
    assert sorted(listed) == sorted(cli.COMMANDS)


def test_overview_has_the_shared_flags() -> None:
    """powdo(1) describes the flags that every command has, and every command has them."""
    parts = PAGES["powdo.1"].parts()
    listed = set().union(*(item.flags for item in parts["Flags of all commands"].items))
    assert listed == SHARED
    assert all(flags_of(command) >= SHARED for command in COMMANDS.values())


def test_overview_describes_flags_of_several_commands() -> None:
    """What powdo(1) calls a flag of several commands is one."""
    parts = PAGES["powdo.1"].parts()
    for flag in set().union(*(item.flags for item in parts["Flags of several commands"].items)):
        assert sum(flag in flags_of(command) for command in COMMANDS.values()) > 1, flag


@every_command
def test_page_has_every_flag_and_none_too_many(words: tuple[str, ...]) -> None:
    """The lists of a page, or of a sub-command's part of it, hold the command's own flags and no others."""
    page = PAGES[f"powdo-{words[0]}.1"]
    part = page.parts()[words[1]] if len(words) > 1 else page.sections["DESCRIPTION"]
    assert set().union(*(item.flags for item in part.items)) == _own(words)
    assert re.search(r"^\.Fl c , h , p , q$", page.source, re.MULTILINE)


@every_command
def test_synopsis_has_every_flag(words: tuple[str, ...]) -> None:
    """The synopsis of each command shows its own flags and no others."""
    synopsis = PAGES[f"powdo-{words[0]}.1"].sections["SYNOPSIS"].text
    lines = [call for call in synopsis.split(".Nm powdo Cm ") if call.startswith(" ".join(words) + "\n")]
    found = set().union(*(flags_in(line) for line in lines)) - {"-c", "-p"}
    assert found == {
        flag for flag in _own(words) if flag.startswith("--") and not _has_short(words, flag)
    } | {flag for flag in _own(words) if not flag.startswith("--")}


def _has_short(words: tuple[str, ...], flag: str) -> bool:
    return any(flag in option.opts and len(option.opts) > 1 for option in COMMANDS[words].params)


def test_pages_have_no_sub_command_too_many() -> None:
    """The sub-sections of a group's page are its sub-commands, in any order."""
    groups = {words[0] for words in COMMANDS if len(words) > 1}
    for name in groups:
        subs = {words[1] for words in COMMANDS if words[0] == name}
        assert set(PAGES[f"powdo-{name}.1"].parts()) == subs


def _check_call(words: list[str]) -> None:
    """Assert that there is such a command, and that it knows the flags."""
    if words == ["--version"] or not words:
        return
    path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    assert path in COMMANDS, f"no such command: {words}"
    known = flags_of(COMMANDS[path])
    for word in words[len(path) :]:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known, f"{path} has no {word}"


@every_page
def test_examples_are_command_lines_that_exist(name: str) -> None:
    """Every call of powdo in a page's examples names a command and flags that exist."""
    for block in PAGES[name].sections["EXAMPLES"].literals + PAGES[name].sections["DESCRIPTION"].literals:
        if not block.lstrip().startswith(("{", "[")):
            for words in powdo_lines(block):
                _check_call(words)


@every_command
def test_help_examples_are_command_lines_that_exist(words: tuple[str, ...]) -> None:
    """The help of each command ends with calls of powdo whose commands and flags exist."""
    calls = list(powdo_lines(COMMANDS[words].epilog or ""))
    assert any(tuple(call[: len(words)]) == words for call in calls)
    for call in calls:
        _check_call(call)


# --- statuses and the environment ----------------------------------------------------------------


def test_statuses_are_told_in_their_order() -> None:
    """The table of exit statuses in powdo(1) holds those of the program, from harmless to worst."""
    table = re.findall(r"^\.It (\d+) Ta ", PAGES["powdo.1"].sections["EXIT STATUS"].text, re.MULTILINE)
    assert tuple(int(status) for status in table) == SEVERITY


@every_page
def test_pages_tell_no_other_status(name: str) -> None:
    """No page tells an exit status that the program does not have."""
    part = PAGES[name].sections.get("EXIT STATUS")
    for item in part.items if part else []:
        assert all(int(number) in SEVERITY for number in re.findall(r"\b\d+\b", item.head.partition("Ta")[0]))


def test_every_variable_of_powdo_is_told() -> None:
    """Every environment variable of powdo's that the source names stands in powdo(1)."""
    told = PAGES["powdo.1"].sections["ENVIRONMENT"].text
    source = "".join(path.read_text("utf-8") for path in Path(cli.__file__).parent.rglob("*.py"))
    names = re.findall(r"\"(_?POWDO_[A-Z_]+|NOSTR_[A-Z_]+[A-Z]|NSEC_[A-Z_]+[A-Z])\"", source)
    assert [name for name in sorted(set(names)) if not re.search(rf"\b{name}\b", told)] == []


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_told_with_its_default(section: str) -> None:
    """powdo.toml(5) has each key of the section and no other, each with the default it really has."""
    readers = schema.readers(SECTIONS[section])
    told = {
        word: item.body for item in PAGES["powdo.toml.5"].parts()[f"[{section}]"].items for word in item.words
    }
    assert list(told) == list(readers)
    for name, body in told.items():
        _check_default(name, readers[name], getattr(SECTIONS[section](), name), body)


def _check_default(name: str, read: parsing.Parse, default: object, body: str) -> None:
    shown = re.search(r"^Default:\n\.Ql (.+) \.$", body, re.MULTILINE)
    if default in (None, ()):
        assert shown is None
        assert "Unset by default" in body, name
    else:
        assert shown is not None, name
        value = tomllib.loads(f"x = {shown[1]}".replace("\\(dq", '"'))["x"]
        assert read(value) == default, name


def test_every_section_and_key_of_a_rule_is_told() -> None:
    """powdo.toml(5) has all sections, and each key of a rule and no other."""
    parts = PAGES["powdo.toml.5"].parts()
    assert {title for title in parts if title.startswith("[")} == {
        *(f"[{name}]" for name in SECTIONS),
        "[[blossom.retention]]",
        "[[kimai.worker]]",
        "[[rule]]",
    }
    assert set(SECTIONS) == set(settings._SECTIONS)
    told = [word for item in parts["[[rule]]"].items for word in item.words]
    assert sorted(told) == sorted(item.name for item in fields(Rule))
    told = [word for item in parts["[[blossom.retention]]"].items for word in item.words]
    assert sorted(told) == sorted(retention.Rule._fields)
    told = [word for item in parts["[[kimai.worker]]"].items for word in item.words]
    assert sorted(told) == sorted(kimai.Token._fields)


def test_configuration_examples_are_sound_and_show_every_key() -> None:
    """The examples of powdo.toml(5) are accepted, and together use each key of each section."""
    shown: dict[str, set[str]] = {}
    for block in PAGES["powdo.toml.5"].sections["EXAMPLES"].literals:
        settings.parse(block, Path("powdo.toml"))
        for section, content in tomllib.loads(block).items():
            tables: list[Mapping[str, object]] = content if isinstance(content, list) else [content]
            shown.setdefault(section, set()).update(*tables)
            assert section != "rule" or parse_rules(tables)[1] == []
    assert shown.pop("rule") == {item.name for item in fields(Rule)}
    assert shown == {name: set(kind._fields) for name, kind in SECTIONS.items()}


# --- records -------------------------------------------------------------------------------------


def test_every_record_type_is_told() -> None:
    """powdo-records(5) has a part for each type of record, and for what travels bare."""
    parts = [title for title in PAGES["powdo-records.5"].parts() if title != "Forms"]
    assert sorted(parts) == sorted([*RECORDS, "Nostr events", "Blob descriptors"])


@pytest.mark.parametrize("kind", RECORDS)
def test_every_field_is_told(kind: str) -> None:
    """powdo-records(5) has each field of a record and no other, and says which are optional."""
    known = {item.name: item for item in fields(RECORDS[kind]) if item.name != "extra"}
    told = {word: item.body for item in PAGES["powdo-records.5"].parts()[kind].items for word in item.words}
    assert sorted(told) == sorted(known)
    for name, body in told.items():
        assert ("optional" in body) == (known[name].default is not MISSING), name


def test_record_examples_are_records() -> None:
    """The examples of powdo-records(5) are read as the records they show and written the same."""
    (lines, *_) = PAGES["powdo-records.5"].sections["EXAMPLES"].literals
    for block in lines.split("\n\n"):
        value = json.loads(block)
        assert RECORDS[value["type"]].from_json(value).to_json() == value


def test_every_command_has_a_help_text() -> None:
    """Every command and group has a help text."""
    context = click.Context(cli.group)
    for name in cli.COMMANDS:
        command = cli.group.get_command(context, name)
        assert command is not None
        assert command.help
