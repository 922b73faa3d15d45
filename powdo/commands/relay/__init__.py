"""`powdo relay`: the community's own relay, and its write policy for strfry.

Each module makes its commands members of the group when it is imported.
"""

from powdo.commands.relay import policy, serve
from powdo.commands.relay.group import relay

__all__ = ["policy", "relay", "serve"]
