"""Groups of commands: a name that none has is met with the nearest, each is told by a whole sentence."""

from __future__ import annotations

import click

#: Longer than any sentence: click's own list cuts each at the end of its line.
_WHOLE = 1000


class PowdoGroup(click.Group):
    """A group that names the nearest command to one it lacks, and lists its own by whole sentences."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return what the first of *args* names. Raises: click.UsageError with what may have been meant."""
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(name, names, 1)
            ctx.fail(f"no such command '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence of each command, over as many lines as it takes."""
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return the commands with what each is for."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, made.get_short_help_str(_WHOLE)) for name, made in found if made is not None]
