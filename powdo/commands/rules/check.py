"""`powdo rules check`: what is wrong with the rules, each with its file and line."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from powdo.commands.rules.group import rules
from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.settings.rule_file import RuleFile
    from powdo.worktime.ruleset import Problem


@command(
    "check",
    parent=rules,
    epilog="powdo rules check && powdo kimai-sync --reconcile -n\npowdo rules check --json | jq -r .text",
)
@report_options
def check(run: Run, json: bool, headers: bool) -> None:
    """Tell what is wrong with the rules: keys, patterns, dates, and rules that never count.

    Silent when all is well. What keeps the configuration from being read ends in status 78; a rule that
    never counts is told and harmless.
    """
    from powdo.errors import ConfigurationError
    from powdo.settings.rule_file import read_rule_file
    from powdo.worktime.ruleset import dead_rules, read_rules

    file = read_rule_file(*run.config_choice)
    found, problems = read_rules(file.tables)
    told = [_row(file, problem, "error") for problem in problems]
    told += [_row(file, one, "warning") for one in dead_rules(found, datetime.now().date())]
    told.sort(key=lambda row: (row["line"] or 0, row["rule"]))
    run.table(told if json else [_cells(row) for row in told], json=json, headers=headers)
    if problems:
        count = len(problems)
        run.fail(
            ConfigurationError(
                f"the rules in '{file.path}' have {count} problem{'s' if count > 1 else ''}",
                hint="see powdo.toml(5)",
            )
        )


def _row(file: RuleFile, problem: Problem, state: Literal["error", "warning"]) -> dict[str, Any]:
    return {
        "file": str(file.path),
        "line": file.line(problem.number, problem.key),
        "rule": problem.name,
        "key": problem.key,
        "state": state,
        "text": str(problem) if state == "error" else f"rule '{problem.name}' {problem.text}",
    }


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    line = "" if row["line"] is None else f":{row['line']}"
    return {"where": f"{row['file']}{line}", "state": row["state"], "what": row["text"]}
