"""`powdo rules`: whether the rules are sound, what they take, and what they leave.

Each module makes its commands members of the group when it is imported.
"""

from powdo.commands.rules import check, explain, suggest
from powdo.commands.rules.group import rules

__all__ = ["check", "explain", "rules", "suggest"]
