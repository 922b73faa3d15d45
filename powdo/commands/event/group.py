"""The group `powdo event`, and what its commands share: who signs, and templates as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from powdo.options import Run, group

if TYPE_CHECKING:
    from powdo.commands.event.signer import Signer
    from powdo.nips.actions import Draft

F = TypeVar("F", bound=Callable[..., Any])


@group("event")
def event() -> None:
    """Write signed events: profile, note, booking, shift, reward, membership, lists, deletion."""


def author_options(function: F) -> F:
    """Add --user and --create-key, as `user` and `create_key`."""
    function = click.option(
        "--create-key", is_flag=True, help="Make the key of NAME if there is none: their first action."
    )(function)
    return click.option("--user", metavar="NAME", help="Sign as NAME, whose key is in custody.")(function)


def action_options(function: F) -> F:
    """Add the flags of an action: those of its author, and --stdin as `stdin`."""
    function = click.option(
        "--stdin",
        is_flag=True,
        help="Read templates, a JSON object a line: the flags by their names, or kind, tags and content.",
    )(function)
    return author_options(function)


class Action(NamedTuple):
    """One kind of action: the *fields* a template may have, and the drafts that they make.

    *make* is given the fields that are there and the author's pubkey.
    """

    kinds: tuple[int, ...]
    fields: Mapping[str, Callable[[str, Any], Any]]
    make: Callable[[dict[str, Any], Signer], Iterable[Draft]]


def act(run: Run, action: Action, *, user: str | None, create_key: bool, stdin: bool, **flags: Any) -> None:
    """Write what the *flags* or, with *stdin*, the templates together with them make.

    Raises: UsageError, and what a Signer raises.
    """
    from powdo.commands.event.signer import Signer, read_fields, required_user
    from powdo.errors import BadRecordError, KeyRejectedError, UsageError
    from powdo.lines import encode_json

    given = {name: value for name, value in flags.items() if value not in (None, (), False)}
    if not stdin:
        signer = Signer(run, required_user(user), create_key=create_key)
        try:
            drafts = list(action.make(given, signer))
        except BadRecordError as error:  # what the flags say is no record
            raise UsageError(error.message, hint=error.hint) from None
        for draft in drafts:
            run.emit(signer.sign(draft).to_json())
        return
    signers: dict[str, Signer] = {}

    def handle(template: dict[str, Any]) -> Iterator[dict[str, object]]:
        name = required_user(template.pop("user", user))
        if name not in signers:
            try:
                signers[name] = Signer(run, name, create_key=create_key)
            except KeyRejectedError as error:  # of this user; the others may have keys
                raise BadRecordError(error.message, hint=error.hint) from None
        if {"kind", "content"} <= template.keys():
            yield signers[name].sign_template(template, action.kinds).to_json()
            return
        fields = given | read_fields(template, action.fields)
        for draft in action.make(fields, signers[name]):
            yield signers[name].sign(draft).to_json()

    run.stage((), handle, key=encode_json)
