"""`powdo keys`: makes, shows, takes in, gives out and looks after the keys of users in custody."""

from __future__ import annotations

from powdo.commands.keys import deleting, giving, looks, making, rotating
from powdo.commands.keys.group import keys

__all__ = ["deleting", "giving", "keys", "looks", "making", "rotating"]
