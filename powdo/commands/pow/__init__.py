"""`powdo pow`: proof of work (NIP-13), mined here, checked, bought from others and sold to them.

Each module makes its commands members of the group when it is imported.
"""

from powdo.commands.pow import accounts, bench, check, mine, prune, request, serve
from powdo.commands.pow.group import proof

pow = proof  # noqa: A001  # what the command is called

__all__ = ["accounts", "bench", "check", "mine", "pow", "prune", "request", "serve"]
