"""The command `powdo`: finds a sub-command when it is named, and turns errors into messages and statuses.

No command is imported before it is asked for; the summaries of the overview stand here (a test holds
them against the commands' own).
"""

from __future__ import annotations

import gc

#: Imports make some 25 000 objects that stay: looking through them at each 700 is a tenth of a start.
_GARBAGE = 50_000
gc.set_threshold(_GARBAGE)

import importlib
import os
import signal
import sys
from typing import NoReturn, cast

import click

from powdo import __version__, signals, stdio
from powdo.console import DEBUG, NORMAL, QUIET, Console
from powdo.errors import OutputError, PowdoError, UsageError
from powdo.groups import PowdoGroup
from powdo.run import Run

COMMANDS = {
    "init": "Write a configuration, a master key and the keys of a worker, operator or server.",
    "doctor": "Try every part of this side and tell what to do about those that fail.",
    "keys": "Make, show, import, export, rotate, delete and audit the keys of users in custody.",
    "event": "Write signed events: profile, note, booking, shift, reward, membership, lists, deletion.",
    "capture": "Take one look at screen and buckets and keep it in the outbox.",
    "bundle": "Encrypt captures into bundles.",
    "upload": "Put bundles on the Blossom servers.",
    "wrap": "Seal and gift-wrap uploaded bundles for their recipients.",
    "publish": "Send signed events to the relays.",
    "review": "Show on a page what the outbox holds, before it is sent.",
    "outbox": "Show what waits on the worker's side; release, drop or resend captures; show receipts.",
    "pause": "Capture nothing from now on, for a while or until `powdo resume`.",
    "resume": "End a pause; with --for capture outside the hours too.",
    "manual": "State time away from the keyboard, which the next capture takes along.",
    "status": "Show whether captures are taken now, and what waits for which stage since when.",
    "today": "Show active time by app and editor project since midnight, pauses, what was sent and received.",
    "listen": "Write the gift wraps addressed to me, each once.",
    "unwrap": "Open gift wraps and write their rumors.",
    "ingest": "Fetch, check and store what gift wraps announce.",
    "receipt": "Answer workers: what was stored, what was refused and why.",
    "acknowledge": "Take receipts: note in the outbox what the DVM has and what it refuses.",
    "users": "Enroll workers and list them.",
    "report": "Count active seconds by app, project, day, activity or worker, or show all on a page.",
    "verify": "Check what is stored against everything that was signed.",
    "extract": "Open one stored bundle into the new folder DIR.",
    "prune": "Remove the blobs and screenshots that retain_blobs and retain_screenshots keep no longer.",
    "rules": "Check the rules, tell which took what, and suggest new ones.",
    "timesheets": "Show the timesheets that the rules make of what was ingested.",
    "kimai-sync": "Create, change and delete timesheets in Kimai; what a person changed there is kept.",
    "allow": "Keep the relay's allowlist in step, and serve one beside another relay.",
    "relay": "Run the relay and look after it, or make its decision for strfry.",
    "blossom": "Run the Blossom server, and look after what it keeps.",
    "pow": "Mine proof of work, check it, and mine for others.",
    "demo": "Run the whole line on this machine with a sample day.",
}


#: The flag that must be heeded also where the command line itself is wrong.
_LOG_JSON = "--log-json"

#: Older versions of click write the help to stdout instead, and end with 0.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


class LazyGroup(PowdoGroup):
    """A group that imports a sub-command only when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command *cmd_name*, or None."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"powdo.commands.{name}")
        return cast(click.Command, getattr(module, name))

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return the overview without importing what it lists."""
        return list(COMMANDS.items())


@click.group(
    "powdo",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A worker's line: powdo capture | powdo bundle | powdo upload | powdo wrap | powdo publish",
)
@click.version_option(__version__, "--version", message="powdo %(version)s")
def group() -> None:
    """Prove work time without surveillance.

    Small commands that pass JSON lines: at the worker's capture, bundle, upload, wrap, publish and
    acknowledge; at the operator's listen, ingest, receipt, kimai-sync.
    """


def _usage(error: click.ClickException) -> PowdoError:
    """Return click's complaint in our words' shape."""
    text = error.format_message().rstrip(".")
    text = text[:1].lower() + text[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "powdo"
    if path == "powdo" and isinstance(error, click.NoSuchOption):
        return UsageError(text, hint="flags stand after the command, as in 'powdo doctor -p NAME'")
    return UsageError(text, hint=f"see '{path} --help'")


def _command_path(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "powdo"


def _run(arguments: list[str]) -> int:
    """Run the command line and return the exit status."""
    context: click.Context | None = None
    try:
        with group.make_context("powdo", arguments) as context:
            group.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except _NO_ARGUMENTS as error:
        sys.stderr.write(error.format_message() + "\n")
        return UsageError.status
    except click.ClickException as error:
        return _report(_console(None, arguments, _command_path(error)), _usage(error))
    except click.Abort:
        declined = UsageError("not confirmed", hint="nothing was changed")
        return _report(_console(context, arguments), declined)
    except PowdoError as error:
        return _report(_console(context, arguments), error)
    except Exception as error:
        if isinstance(error, OSError) and not _started(context):
            raise _stdout_failure(error) from None  # click was writing a help text
        return _report_bug(_console(context, arguments), error)  # say so, and show where with -vv
    run = context.obj
    return run.console.status if isinstance(run, Run) else 0


def _console(context: click.Context | None, arguments: list[str], name: str = "powdo") -> Console:
    """Return the run's console, or one for what fails before there is a run."""
    run = context.obj if context is not None else None
    return run.console if isinstance(run, Run) else Console(name, NORMAL, json=_LOG_JSON in arguments)


def _started(context: click.Context | None) -> bool:
    return context is not None and isinstance(context.obj, Run)


def _stdout_failure(error: OSError) -> BaseException:
    if isinstance(error, BrokenPipeError):
        return signals.Terminated(signal.SIGPIPE)
    return OutputError(f"cannot write to stdout: {error.strerror}")


def _report(console: Console, error: PowdoError) -> int:
    console.error(error)
    return console.status


def _report_bug(console: Console, error: Exception) -> int:
    hint = "this is a bug in powdo; run it again with -vv to see where"
    if console.level >= DEBUG:
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            console.debug(line)
        hint = "this is a bug in powdo; please report it with the lines above"
    return _report(console, PowdoError(f"internal error: {type(error).__name__}: {error}", hint=hint))


def _complete() -> int | None:
    """Answer a shell that asks for completions; None when none does."""
    instruction = os.environ.get("_POWDO_COMPLETE")
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    from powdo.completion import equip

    class Equipped(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            found = super().get_command(ctx, cmd_name)
            return found and equip(found)

    return shell_complete(Equipped("powdo", params=group.params), {}, "powdo", "_POWDO_COMPLETE", instruction)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run powdo and end the process: by status, or by the signal that ended it."""
    signals.install()
    stdio.guard_streams()
    if arguments is None:
        arguments = sys.argv[1:]
    try:
        status = _complete()
        if status is None:
            status = _run(arguments)
        stdio.flush_stdout()
    except signals.Terminated as ended:
        _discard_stdout()
        signals.die(ended.signum)
    except KeyboardInterrupt:
        _discard_stdout()
        signals.die(signal.SIGINT)
    except PowdoError as error:
        console = Console("powdo", QUIET, json=_LOG_JSON in arguments)
        status = _report(console, error)
        _discard_stdout()
    _let_go_of_stderr()
    gc.freeze()  # at its end the interpreter looks for garbage three times, in all that was ever loaded
    sys.exit(status)


def _let_go_of_stderr() -> None:
    """Keep what could not be written to stderr, say to a log on a full disk, from changing the status."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _discard(2)


def _discard_stdout() -> None:
    """Keep the interpreter from flushing into a stdout that cannot be written."""
    _discard(1)


def _discard(descriptor: int) -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
    except OSError:
        return  # not even that: the interpreter says so itself
