"""`powdo allow`: who the relay lets in.

Each module makes its commands members of the group when it is imported.
"""

from powdo.commands.allow import changes, looks, serve, sync
from powdo.commands.allow.group import allow

__all__ = ["allow", "changes", "looks", "serve", "sync"]
