"""`powdo relay`: the community's own relay, what it has stored, and its write policy for strfry.

Each module makes its commands members of the group when it is imported.
"""

from powdo.commands.relay import backup, policy, serve, stat
from powdo.commands.relay.group import relay

__all__ = ["backup", "policy", "relay", "serve", "stat"]
