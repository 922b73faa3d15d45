"""Command lines as text: each file of tests/scripts is one test.

    powdo ARGUMENT…         runs powdo; an exit status other than 0 fails the script
    ! powdo ARGUMENT…       the same; status 0 fails the script
    NAME=VALUE powdo …      with a variable
    stdin FILE              the next command's input (`stdin stdout`: what the last one wrote)
    status N                the last command's exit status
    stdout REGEX            found in what the last command wrote (`! stdout REGEX`: not found)
    stderr REGEX            the same of stderr
    cmp stdout FILE         they are the same, byte by byte
    exists FILE, ! exists FILE, mode FILE OCTAL
    # …                     a comment

Below a line `-- NAME --` follows the content of a file, which lies in the folder the script runs in.
`$WORK` is that folder. Regular expressions are searched in multi-line mode.
"""

from __future__ import annotations

import re
import shlex
import stat
from pathlib import Path

import pytest

from tests.conftest import ROOT

_SCRIPTS = sorted((ROOT / "tests" / "scripts").glob("*.txt"))
_FILE = re.compile(r"^-- (\S+) --\n", re.MULTILINE)
_SETTING = re.compile(r"[A-Z_]+=")


class Script:
    """One script at work in *folder*."""

    def __init__(self, text: str, folder: Path, powdo) -> None:
        head, *files = _FILE.split(text)
        self.lines = head.splitlines()
        self.folder = folder
        self.powdo = powdo
        self.stdin = b""
        self.out = {"stdout": b"", "stderr": b""}
        self.code = 0
        for name, content in zip(files[::2], files[1::2], strict=True):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(0o600)

    def run(self) -> None:
        """Run every line; the first that does not hold fails with its number."""
        for number, line in enumerate(self.lines, 1):
            words = shlex.split(line.replace("$WORK", str(self.folder)), comments=True)
            if words:
                negated = words[0] == "!"
                try:
                    held = self.step(words[1:] if negated else words)
                except OSError as error:
                    pytest.fail(f"line {number}: {line}: {error}")
                if held is negated:
                    said = b"\n".join(self.out.values()).decode(errors="replace")
                    pytest.fail(f"line {number}: {line}\nstatus {self.code}\n{said}", pytrace=False)

    def step(self, words: list[str]) -> bool:
        """Do one line and return whether it holds."""
        if words[0] == "powdo" or _SETTING.match(words[0]):
            return self.command(words)
        operation = getattr(self, f"do_{words[0]}", None)
        assert operation is not None, f"unknown word {words[0]}"
        return operation(*words[1:])

    def command(self, words: list[str]) -> bool:
        """Run powdo with the input that `stdin` has set."""
        variables: dict[str, str] = {}
        while words[0] != "powdo":
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        done = self.powdo(*words[1:], stdin=self.stdin, env=variables, cwd=self.folder)
        self.stdin, self.code = b"", done.returncode
        self.out = {"stdout": done.stdout, "stderr": done.stderr}
        return self.code == 0

    def do_stdin(self, name: str) -> bool:
        """Set the next command's input."""
        self.stdin = self.out["stdout"] if name == "stdout" else (self.folder / name).read_bytes()
        return True

    def do_status(self, status: str) -> bool:
        """Compare the last exit status."""
        return self.code == int(status)

    def do_stdout(self, pattern: str) -> bool:
        """Search what the last command wrote."""
        return re.search(pattern, self.out["stdout"].decode(), re.MULTILINE) is not None

    def do_stderr(self, pattern: str) -> bool:
        """Search what the last command said."""
        return re.search(pattern, self.out["stderr"].decode(), re.MULTILINE) is not None

    def do_cmp(self, stream: str, name: str) -> bool:
        """Compare a stream with a file."""
        return self.out[stream] == (self.folder / name).read_bytes()

    def do_exists(self, name: str) -> bool:
        """Look whether a file is there."""
        return (self.folder / name).exists()

    def do_mode(self, name: str, mode: str) -> bool:
        """Compare a file's permissions."""
        return stat.S_IMODE((self.folder / name).stat().st_mode) == int(mode, 8)


@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path, tmp_path: Path, powdo):
    """Every line of the script holds."""
    folder = tmp_path / "work"
    folder.mkdir()
    Script(path.read_text(), folder, powdo).run()


def test_a_script_that_does_not_hold_fails(tmp_path: Path, powdo):
    """The runner fails where a line does not hold, with its number."""
    for text in (
        "! powdo --version",
        "powdo nope",
        "powdo --version\nstdout 'powdo 9'",
        "exists no",
        "! nonsense",
    ):
        with pytest.raises((pytest.fail.Exception, AssertionError)):
            Script(text, tmp_path, powdo).run()
