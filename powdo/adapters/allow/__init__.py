"""The relay's allowlist from afar: its admin API, what is pinned here, what the relay was not told yet."""

from powdo.adapters.allow.client import Client, Counts
from powdo.adapters.allow.order import Action, Change
from powdo.adapters.allow.sending import flush, reconcile
from powdo.adapters.allow.state import State

__all__ = ["Action", "Change", "Client", "Counts", "State", "flush", "reconcile"]
