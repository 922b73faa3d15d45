"""What is found wrong with one bundle, each with the name of the check that found it.

powdo-verify(1) lists the checks by these names.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal

from powdo.errors import BadRecordError, InputMissingError, PeerProtocolError
from powdo.records import JsonObject

Check = Literal[
    "wrap",
    "seal",
    "rumor",
    "author",
    "row",
    "link",
    "manifest",
    "blob",
    "bundle",
    "contents",
    "screenshots",
    "period",
    "receipt",
    "chain",
]


class Findings:
    """The problems of one bundle, and what is not there to be looked at."""

    def __init__(self) -> None:
        self.problems: list[JsonObject] = []
        self.absent: list[str] = []

    def add(self, check: Check, reason: str) -> None:
        """Note that *check* fails for *reason*."""
        self.problems.append({"check": check, "reason": reason})

    def failed(self, check: Check) -> bool:
        """Return whether *check* has failed already."""
        return any(problem["check"] == check for problem in self.problems)

    def check(self, check: Check) -> _Noting:
        """Return a block whose error, where the evidence is not as it must be, is noted."""
        return _Noting(self, check)

    def require(self, check: Check, holds: bool, reason: str) -> None:
        """Note *reason* unless *holds*."""
        if not holds:
            self.add(check, reason)


class _Noting:
    def __init__(self, found: Findings, check: Check) -> None:
        self._found = found
        self._check = check

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, BadRecordError | InputMissingError | PeerProtocolError):
            return False
        self._found.add(self._check, error.message)
        return True
