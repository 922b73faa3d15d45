"""What a check finds: a row of the report, with what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from powdo.errors import PowdoError

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"


class Finding(NamedTuple):
    """One row; *status* is the exit status that a failure stands for."""

    part: str
    state: str
    detail: str
    fix: str | None = None
    status: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the row of the report."""
        return self._asdict()


def good(part: str, detail: str) -> Finding:
    """Return the finding that *part* works."""
    return Finding(part, OK, detail)


def doubtful(part: str, detail: str, fix: str) -> Finding:
    """Return the finding that *part* works, but not as it should."""
    return Finding(part, WARNING, detail, fix)


def skipped(part: str, detail: str, fix: str | None = None) -> Finding:
    """Return the finding that *part* was not looked at."""
    return Finding(part, SKIPPED, detail, fix)


def failed(part: str, error: PowdoError, fix: str | None = None) -> Finding:
    """Return the finding that *part* fails with *error*; its hint is the fix unless there is a better one."""
    return Finding(part, FAILED, error.message, fix or error.hint, error.status)


def attempted(part: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what *check* finds; an error that it raises is the last finding, about *part*."""
    try:
        yield from check()
    except PowdoError as error:
        yield failed(part, error)
