"""What README.md says: its commands and their flags exist. `real/test_set_up.py` runs its set-up."""

from __future__ import annotations

import re

import pytest
from manual import commands, flags_of, powdo_lines

from powdo import cli
from tests.capture_helpers import ROOT

TEXT = (ROOT / "README.md").read_text("utf-8")
COMMANDS = dict(commands(cli.group))


def _calls() -> list[list[str]]:
    """Return the words of each call of powdo in README.md, in blocks and between backticks."""
    blocks = "\n".join(re.findall(r"(?m)^    (powdo .*)$", TEXT))
    marked = "\n".join(re.findall(r"`(powdo [^`]*)`", TEXT))
    return [words for words in powdo_lines(f"{blocks}\n{marked}") if words]


@pytest.mark.parametrize("words", _calls(), ids=" ".join)
def test_its_commands_exist(words: list[str]) -> None:
    """Each call names a command and flags that powdo has."""
    path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    groups = {names[0] for names in COMMANDS}
    assert path in COMMANDS or path[0] in groups, words
    known = flags_of(COMMANDS[path]) if path in COMMANDS else set()
    for word in words[len(path) :]:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known, words
