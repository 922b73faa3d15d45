"""The blob folder, which several hosts may share: how files come into it, and how they go."""

from powdo.adapters.evidence.folder import Evidence, place
from powdo.adapters.evidence.removing import Remover

__all__ = ["Evidence", "Remover", "place"]
