"""Trying nonces (NIP-13) on all cores: by the C extension where it is, else by hashlib in processes."""

from powdo.adapters.miner.choosing import CHOICES, available, cores, make_miner
from powdo.adapters.miner.mining import mine, start

__all__ = ["CHOICES", "available", "cores", "make_miner", "mine", "start"]
