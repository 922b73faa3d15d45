"""Reads the mdoc sources of the manual, and the command lines in examples, for test_manual.py."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import click

MAN = Path(__file__).resolve().parent.parent / "man"
_FLAG = re.compile(r"\bFl Fl ([a-z-]+)|\bFl ([a-zA-Z])\b")


@dataclass(frozen=True)
class Item:
    """One `.It` of a list: the words it is about, and the text below it."""

    head: str
    body: str

    @property
    def flags(self) -> set[str]:
        """The flags in the item's head."""
        return flags_in(self.head)

    @property
    def words(self) -> list[str]:
        """The names marked by Cm in the item's head."""
        _, _, rest = self.head.partition("Cm ")
        return rest.replace(",", " ").split()


@dataclass(frozen=True)
class Part:
    """A section or sub-section: its lines, up to the next one of its rank."""

    title: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The source."""
        return "\n".join(self.lines)

    @property
    def items(self) -> list[Item]:
        """The items of all its lists."""
        pieces = re.split(r"^\.It ", self.text, flags=re.MULTILINE)[1:]
        return [Item(*piece.partition("\n")[::2]) for piece in pieces]

    @property
    def literals(self) -> list[str]:
        """Its literal displays, as they are shown."""
        found = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", self.text + "\n", re.MULTILINE | re.DOTALL)
        return [block.replace("\\e", "\\").replace("\\(dq", '"').replace("\\(aq", "'") for block in found]


class Page:
    """One man page's source."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.read_text("utf-8")

    @property
    def name(self) -> str:
        """The page's name without the number of its section."""
        return self.path.stem

    @cached_property
    def sections(self) -> dict[str, Part]:
        """The sections in their order."""
        return _parts(".Sh ", self.source.splitlines())

    def parts(self, section: str = "DESCRIPTION") -> dict[str, Part]:
        """Return the sub-sections of *section*."""
        return _parts(".Ss ", self.sections[section].lines)


def _parts(macro: str, lines: list[str]) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    current = None
    for line in lines:
        if line.startswith(macro):
            current = parts[line.removeprefix(macro)] = Part(line.removeprefix(macro))
        elif current is not None:
            current.lines.append(line)
    return parts


def pages() -> list[Page]:
    """Return all pages."""
    return [Page(path) for path in sorted(MAN.glob("*.[1-9]"))]


def flags_in(text: str) -> set[str]:
    """Return the flags that *text* marks with Fl."""
    return {f"--{long}" if long else f"-{short}" for long, short in _FLAG.findall(text)}


# --- the command tree ------------------------------------------------------------------------------


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below *group* that is no group itself, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None, name
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)
        else:
            yield (*path, name), found


def flags_of(command: click.Command) -> set[str]:
    """Return the flags that *command* takes, -h too."""
    found = {"-h", "--help"}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            found.update(parameter.opts, parameter.secondary_opts)
    return found


def powdo_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each call of powdo in the shell lines *text*."""
    joined = re.sub(r"(\\|\|)\n\s*", lambda match: match[1].replace("\\", " ") + " ", text)
    joined = re.sub(r"\"?\$\(([^)]*)\)\"?", r"; \1 ;", joined)  # a call within a call
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in [*lexer, "|"]:
            if set(word) <= set("|&;<>()"):
                if "powdo" in words:
                    yield words[words.index("powdo") + 1 :]
                words = []
            else:
                words.append(word)
