"""`powdo event sign`: any event, signed by a key in custody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from powdo.commands.event.group import author_options, event
from powdo.options import Run, command, filter_options


@command(
    "sign",
    parent=event,
    epilog="""jq -nc '{kind: 1, content: "hello"}' | powdo event sign --user ana | powdo publish""",
)
@filter_options
@author_options
def sign(run: Run, files: tuple[str, ...], user: str | None, create_key: bool) -> None:
    """Sign events: JSON objects with kind and content, and what else they have.

    What they lack of tags, time and author is filled in. An event of somebody else is refused.
    """
    from powdo.commands.event.signer import Signer, required_user
    from powdo.lines import encode_json

    signer = Signer(run, required_user(user), create_key=create_key)

    def handle(template: dict[str, Any]) -> Iterator[dict[str, object]]:
        yield signer.sign_template(template).to_json()

    run.stage(files, handle, key=encode_json)
