"""`powdo blossom`: the Blossom server, and what its operator does with what it keeps.

Each module makes its commands members of the group when it is imported.
"""

from powdo.commands.blossom import fsck, looks, prune, serve
from powdo.commands.blossom.group import blossom

__all__ = ["blossom", "fsck", "looks", "prune", "serve"]
