"""`powdo relay policy`: the relay's decision, for strfry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.relay.group import relay
from powdo.errors import PowdoError, UsageError
from powdo.options import Run, command

if TYPE_CHECKING:
    from powdo.servers.relay.policy import Policy


@command("policy", parent=relay, epilog="powdo relay policy --allowlist allowlist.json < requests.jsonl")
@click.option(
    "--allowlist",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the allowlist from FILE instead of [relay] data's allowlist.json.",
)
@click.option("--open", is_flag=True, help="Accept everybody's events.")
@click.option(
    "--min-pow",
    type=click.IntRange(0, 64),
    metavar="BITS",
    help="Ask for BITS of proof of work of gift wraps, besides a recipient on the allowlist.",
)
def policy(run: Run, **flags: Any) -> None:
    """Decide for strfry what it stores, as its write-policy plugin.

    Reads strfry's requests and answers each with one line. Configuration and allowlist are read again when
    they change; what is wrong with them, or with a request, is said on stderr, which is strfry's log.
    """
    import time

    from powdo.lines import decode_line
    from powdo.servers.relay.strfry import Rules, answer
    from powdo.signals import deferred
    from powdo.stdio import Lines

    given = {name: value for name, value in flags.items() if value is not None and value is not False}
    rules = Rules(run.settings.config_path, lambda: _policy(run, given), run.console.warning)
    for line in Lines(()):
        with deferred():
            try:
                if line.error is not None:
                    raise line.error
                reply = answer(decode_line(line.data), rules.policy(), int(time.time()))
            except PowdoError as error:
                run.console.warning(f"line {line.number}: {error.message}")
                continue
            if reply is not None:
                run.emit(reply)


def _policy(run: Run, given: dict[str, Any]) -> Policy:
    """Return what the configuration says now, where no flag is *given*. Raises: PowdoError."""
    from powdo.servers.allowlist import Allowlist
    from powdo.servers.relay.limits import Limits
    from powdo.servers.relay.policy import Policy
    from powdo.settings import load

    config, profile = run.config_choice
    section = load(config=config, profile=profile).relay._replace(**given)
    file = section.allowlist or (section.data and section.data / "allowlist.json")
    if file is None and not section.allow and not section.open:
        raise UsageError("no allowlist", hint="give --allowlist FILE, or data or allow in [relay]")
    return Policy(
        allowed=Allowlist(file, section.allow, warn=run.console.warning),
        open=section.open,
        min_pow=section.min_pow,
        blind=True,
        limits=Limits.of(section, public=False),
    )
