"""Questions of a set-up, on a terminal. Without one, or with --yes, nothing is asked and nothing is guessed.

An answer that is none is told and asked for again; an empty one leaves the value open, to be filled in later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import click

from powdo.errors import BadRecordError, ConfigurationError, PowdoError, UsageError
from powdo.nips.nprofile import Profile, parse_profile
from powdo.run import Run

_T = TypeVar("_T")


class Conversation:
    """What is asked of the person who runs *run*; nothing with *silent*, or where there is no terminal."""

    def __init__(self, run: Run, *, silent: bool) -> None:
        self._run = run
        self.open = not silent and os.isatty(0) and os.isatty(2)

    def ask(self, question: str, read: Callable[[str], _T], *, default: str = "") -> _T | None:
        """Return what *read* makes of the answer; None for an empty one, or where nothing can be asked."""
        while self.open:
            answer = click.prompt(question, default=default, show_default=bool(default), err=True).strip()
            if not answer:
                return None
            try:
                return read(answer)
            except PowdoError as error:
                self._run.console.warning(error.message, hint=error.hint)
        return None

    def many(self, question: str, read: Callable[[str], _T], default: tuple[str, ...] = ()) -> tuple[_T, ...]:
        """Return what *read* makes of each word of the answer."""
        found = self.ask(
            f"{question} (several with spaces between)",
            lambda answer: tuple(map(read, answer.split())),
            default=" ".join(default),
        )
        return found or ()

    def agree(self, question: str, *, default: bool = True) -> bool:
        """Return whether the person says yes; True where nobody can be asked."""
        return not self.open or click.confirm(question, default=default, err=True)

    def show(self, text: str) -> None:
        """Show *text* to the person who is asked."""
        if self.open:
            self._run.console.show(text)

    def confirmed(self, text: str, path: object) -> None:
        """Show the configuration *text* and return once it is agreed to. Raises: click.Abort."""
        self.show(f"\n{path} will hold:\n\n{text}")
        if not self.agree("write it?"):
            raise click.Abort

    def dvm(self, given: str | None) -> Profile | None:
        """Return the DVM that *given* or the person names, once they have seen its npub and agreed.

        Raises: UsageError for a *given* one that is none, or is not agreed to.
        """
        if given is not None:
            try:
                found = parse_profile(given)
            except BadRecordError as error:
                raise ConfigurationError(f"--dvm: {error.message}", hint=error.hint) from None
            if given != found.pubkey and given.startswith("nprofile") and not self._recognised(found):
                raise UsageError("not the right DVM", hint="ask its operator for the npub")
            return found
        while (asked := self.ask("the DVM's npub or nprofile, from its operator", parse_profile)) is not None:
            if self._recognised(asked):
                return asked
        return None

    def _recognised(self, profile: Profile) -> bool:
        """Return whether the person knows the key; whatever was pasted, it opens all that is sent."""
        from powdo.nips.bech32 import encode_npub

        relays = f"\n  relays  {' '.join(profile.relays)}" if profile.relays else ""
        self.show(f"  npub    {encode_npub(profile.pubkey)}{relays}")
        return self.agree("is this what the operator told you?", default=False)
