"""Every error raised on purpose, each with the exit status it ends in.

PowdoError                     never raised itself
├── BadRecordError         65  a record is malformed or fails a check; the others go on
├── InputMissingError      66  a FILE operand is not there
├── RefusedError           69  a peer refuses for good
├── CannotCreateError      73  state or a file cannot be created
├── OutputError            74  stdout, a spool or a disk cannot be written
├── RetryLaterError        75  a peer is away or slow, a lock is held; state is kept
│   ├── BusyError              another run holds the lock
│   └── PeerAwayError          a peer cannot be reached, or has had enough: what else is for it waits too
├── PeerProtocolError      76  a peer breaks its protocol: a hash, a signature, nonsense
├── UnsoundError           76  what is kept here fails its own check
├── KeyRejectedError       77  a key is missing, unsafe or rejected
├── ConfigurationError     78  the configuration, with all its problems
└── UsageError              2  the command line

Statuses are those of sysexits.h, because systemd and cron scripts can read them. A run with several
failures ends with the worst, in the order of SEVERITY.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

#: Exit statuses from harmless to worst: what needs a person outranks what a retry mends.
SEVERITY = (0, 75, 65, 66, 69, 73, 74, 76, 77, 78, 2, 70)


def worse(one: int, other: int) -> int:
    """Return the more severe of two exit statuses."""
    return max(one, other, key=SEVERITY.index)


class PowdoError(Exception):
    """What powdo raises on purpose: a message without capital or full stop, and a hint at what to do."""

    status: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadRecordError(PowdoError):
    """A record is malformed or fails a check."""

    status = 65


class InputMissingError(PowdoError):
    """An input file is not there."""

    status = 66


class RefusedError(PowdoError):
    """A peer refuses for good."""

    status = 69


class CannotCreateError(PowdoError):
    """A file or a directory cannot be created."""

    status = 73


class OutputError(PowdoError):
    """Something cannot be written: stdout, a spool, a full disk."""

    status = 74


class RetryLaterError(PowdoError):
    """A peer is away or slow; state is kept and a later run carries on."""

    status = 75


class BusyError(RetryLaterError):
    """Another run holds the lock."""


class PeerAwayError(RetryLaterError):
    """A peer cannot be reached, or wants nothing more for now: what else is for it need not be tried."""


class PeerProtocolError(PowdoError):
    """A peer breaks its protocol."""

    status = 76


class UnsoundError(PowdoError):
    """What is kept here fails its own check."""

    status = 76


class KeyRejectedError(PowdoError):
    """A key is missing, unsafe or rejected."""

    status = 77


class ConfigurationError(PowdoError):
    """The configuration is unusable; *problems* lists everything wrong with it."""

    status = 78

    def __init__(self, message: str, *, hint: str | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class UsageError(PowdoError):
    """The command line makes no sense."""

    status = 2
