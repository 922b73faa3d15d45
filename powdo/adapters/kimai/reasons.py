"""Why Kimai says no, in words that help: its own say only which field it does not like.

Its status and the fields decide, never its words. What the catalogue shows of the project tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from powdo.adapters.kimai.catalogue import Catalogue
from powdo.adapters.kimai.client import Account, Refusal
from powdo.errors import RefusedError
from powdo.worktime.reconcile import Wanted


def refused(
    refusal: Refusal, what: str, want: Wanted, catalogue: Catalogue, account: Account, today: str
) -> RefusedError:
    """Return the error that tells why *what*, which should become *want*, was refused, and what helps."""
    project = catalogue.projects.get(want.project)
    hint = None
    if refusal.status == 403:
        hint = "the token's user needs the permission 'create_own_timesheet' or 'create_other_timesheet'"
    elif is_tracking_mode(refusal, account):
        hint = (
            f"kimai's tracking mode is '{account.tracking_mode}', in which plain users send no times: "
            "set it to 'default', or use the token of a user who may see other timesheets"
        )
    elif "project" in refusal.fields:
        hint = _of_project(project, today)
    elif "activity" in refusal.fields:
        hint = "the activity is hidden, of another project, or not allowed in this one"
    elif "user" in refusal.fields:
        hint = f"the token's user has no access to user {want.user} (a team lead only to their own team)"
    elif "" in refusal.fields and want.billable is not None and account.rank == 0:
        hint = (
            "a plain user's token may not send 'billable': leave it out of the rule, or use another's token"
        )
    elif "" in refusal.fields:
        hint = "the period is locked, overlaps another entry, or breaks a limit that is set in Kimai"
    return RefusedError(f"kimai refuses {what}: {refusal.text}", hint=hint)


def _of_project(project: Mapping[str, Any] | None, today: str) -> str:
    if project is None:
        return "the token's user does not see the project"
    end, start = project.get("end"), project.get("start")
    if isinstance(end, str) and end[:10] < today:
        return f"the project '{project.get('name')}' ended on {end[:10]}: Kimai takes nothing new into it"
    if isinstance(start, str) and start[:10] > today:
        return f"the project '{project.get('name')}' begins on {start[:10]}"
    if project.get("visible") is False:
        return f"the project '{project.get('name')}' is hidden in Kimai"
    return "the project or its customer is hidden, or of another team"


def is_tracking_mode(refusal: Refusal, account: Account) -> bool:
    """Return whether the form as a whole was refused in a tracking mode that takes no times."""
    return account.tracking_mode != "default" and refusal.fields == {""}


def is_hopeless(refusal: Refusal, account: Account) -> bool:
    """Return whether no other new timesheet would fare better with this token."""
    return refusal.status == 403 or is_tracking_mode(refusal, account)
