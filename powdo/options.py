"""The flags that commands share, each from one decorator, and the decorators that make a command.

Shared flags stand on every command, so `powdo capture -v` works. A command function gets a Run first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from powdo.console import DEBUG, NORMAL, QUIET
from powdo.groups import PowdoGroup
from powdo.run import Run

__all__ = [
    "Duration",
    "Run",
    "admin_options",
    "command",
    "dry_run_option",
    "filter_options",
    "group",
    "network_options",
    "pending_option",
    "period_options",
    "relay_urls",
    "report_options",
    "since_until_options",
]

F = TypeVar("F", bound=Callable[..., Any])
_LONGEST = 3650 * 86400
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class PowdoCommand(click.Command):
    """A command whose help ends with a pipeline, laid out as it was written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse *args*. Raises: click.UsageError, which names this command even from click's parser."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples without re-wrapping them."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")


def _shared(function: F) -> F:
    """Add the flags of all commands."""
    options = (
        click.option("--log-json", is_flag=True, help="Write messages on stderr as JSON lines."),
        click.option("-v", "verbose", count=True, help="Say what happens; twice: what happens inside."),
        click.option("-q", "--quiet", is_flag=True, help="Say only what needs a person; silent on 0 and 75."),
        click.option(
            "-p",
            "--profile",
            metavar="NAME",
            help="Use NAME's own configuration and state.",
        ),
        click.option(
            "-c",
            "--config",
            metavar="FILE",
            help="Read FILE instead of powdo.toml or what POWDO_CONFIG names.",
        ),
    )
    for option in options:
        function = option(function)
    return function


def command(
    name: str,
    *,
    epilog: str,
    parent: click.Group | None = None,
    nothing: str | None = None,
    **attributes: Any,
) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that makes `f(run, **flags)` the command *name*; *epilog* shows a pipeline.

    *nothing* is what a person is told where a report has no rows, as `Run.nothing`, which *f* may change.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        def callback(
            *,
            config: str | None,
            profile: str | None,
            quiet: bool,
            verbose: int,
            log_json: bool,
            **flags: Any,
        ) -> Run:
            level = QUIET if quiet else min(NORMAL + verbose, DEBUG)
            path = click.get_current_context().command_path
            run = Run(path, level=level, log_json=log_json, config=config, profile=profile)
            click.get_current_context().find_root().obj = run
            run.nothing = nothing
            function(run, **flags)
            run.end()
            return run

        callback.__doc__ = function.__doc__
        callback.__click_params__ = list(getattr(function, "__click_params__", ()))  # type: ignore[attr-defined]  # where click keeps decorated options
        made = click.command(name, cls=PowdoCommand, epilog=epilog, context_settings=_CONTEXT, **attributes)(
            _shared(callback)
        )
        if parent is not None:
            parent.add_command(made)
        return made

    return decorate


def group(name: str) -> Callable[[Callable[[], None]], click.Group]:
    """Return a decorator that makes a function the group *name* of sub-commands."""

    def decorate(function: Callable[[], None]) -> click.Group:
        return click.group(name, cls=PowdoGroup, context_settings=_CONTEXT)(function)

    return decorate


def filter_options(function: F) -> F:
    """Add the FILE operands of a filter, as `files`."""
    return click.argument("files", nargs=-1, metavar="[FILE]...")(function)


def pending_option(function: F) -> F:
    """Add --pending, as `pending`."""
    return click.option(
        "--pending", is_flag=True, help="Also take what waits for this stage in its durable queue."
    )(function)


def network_options(function: F) -> F:
    """Add --timeout, as `timeout` in seconds."""
    return click.option(
        "--timeout",
        type=click.FloatRange(0.1, 3600),
        default=30.0,
        metavar="SECONDS",
        show_default=True,
        help="Give up on a silent peer after SECONDS.",
    )(function)


def dry_run_option(function: F) -> F:
    """Add -n/--dry-run, as `dry_run`."""
    return click.option(
        "-n", "--dry-run", is_flag=True, help="Write the records it would write and change nothing."
    )(function)


def admin_options(function: F) -> F:
    """Add the flags of an admin API: `admin_secret_file` (a path or None), `admin_ip`, `trusted_proxy`."""
    from pathlib import Path  # with the parsers of URLs it takes as long as the rest of this module

    options = (
        click.option(
            "--trusted-proxy", metavar="CIDR", multiple=True, help="Believe X-Forwarded-For of these."
        ),
        click.option(
            "--admin-ip",
            metavar="CIDR",
            multiple=True,
            help="Let these addresses use the admin API; by default this machine.",
        ),
        click.option(
            "--admin-secret-file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Read the secret of the admin API from FILE.",
        ),
    )
    for option in options:
        function = option(function)
    return function


def report_options(function: F) -> F:
    """Add --json and --no-headers, as `json` and `headers`."""
    function = click.option(
        "--no-headers",
        "headers",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Leave the table's head out.",
    )(function)
    return click.option("--json", is_flag=True, help="Write JSON lines instead of a table.")(function)


if TYPE_CHECKING:
    _DatetimeType = click.ParamType[datetime]
    _IntType = click.ParamType[int]
else:
    _DatetimeType = _IntType = click.ParamType  # no generic class before click 8.4


class Duration(_IntType):
    """A length of time such as `90`, `30m` or `8h`, at least a second."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds *value* means."""
        from powdo.errors import PowdoError
        from powdo.settings.units import parse_duration

        try:
            seconds = parse_duration(value)
        except PowdoError as error:
            self.fail(error.message, param, ctx)
        if not 0 < seconds <= _LONGEST:
            self.fail(f"'{value}' is not between a second and ten years", param, ctx)
        return seconds


class Moment(_DatetimeType):
    """A point in time: RFC 3339, a date, or a word such as `monday`, `yesterday`, `2w`; local zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the aware datetime *value* names."""
        if isinstance(value, datetime):
            return value
        from powdo.errors import PowdoError
        from powdo.settings.units import parse_moment

        try:
            moment: datetime = parse_moment(value, now=datetime.now().astimezone())
        except PowdoError as error:
            self.fail(error.message, param, ctx)
        return moment


def since_until_options(function: F) -> F:
    """Add --since and --until, as aware datetimes `since` and `until` or None."""
    function = click.option(
        "--until",
        type=Moment(),
        metavar="T",
        help="Only what is before T (as --since; a date is its midnight).",
    )(function)
    return click.option(
        "--since",
        type=Moment(),
        metavar="T",
        help="Only what is from T on: RFC 3339, a date, or a word such as monday, yesterday, 2w.",
    )(function)


def period_options(function: F) -> F:
    """Add --since, --until and --last, as one `period` whose words are known to be sound."""
    from functools import wraps

    @wraps(function)
    def named(*args: Any, since: str | None, until: str | None, last: str | None, **flags: Any) -> Any:
        from powdo.errors import ConfigurationError, UsageError
        from powdo.settings.periods import Period

        if last is not None and (since is not None or until is not None):
            raise UsageError("--last says it all", hint="leave --since and --until out")
        period = Period(datetime.now().astimezone(), since, until, last)
        try:
            period.within()
        except ConfigurationError as error:
            raise UsageError(error.message) from None
        return function(*args, period=period, **flags)

    options = (
        click.option(
            "--last", metavar="PERIOD", help="Only the last 7d, 2w, 8h, or the last day, week, month or year."
        ),
        click.option("--until", metavar="T", help="Only what is before T (as --since)."),
        click.option(
            "--since",
            metavar="T",
            help="Only what is from T on: RFC 3339, a date, or a word such as monday, yesterday, 2w.",
        ),
    )
    for option in options:
        named = option(named)
    return cast(F, named)


def relay_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Return the relays that flags name, once each is checked. Raises: UsageError."""
    from powdo.errors import ConfigurationError, UsageError
    from powdo.settings.units import check_url

    try:
        return tuple(check_url(url, ("ws",)) for url in urls)
    except ConfigurationError as error:
        raise UsageError(error.message, hint=error.hint) from None


def stdin_given() -> bool:
    """Return whether records may come in on stdin: it is open and no terminal."""
    try:
        return not os.isatty(0) and os.fstat(0) is not None
    except OSError:
        return False
