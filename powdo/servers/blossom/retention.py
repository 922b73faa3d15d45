"""How long blobs are kept: rules by type and owner, and what an owner may wish; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase

from powdo.servers.blossom.tables import NEVER
from powdo.settings.retention import Rule


class Retention:
    """The operator's *rules*: the first that matches an upload counts; without one it is kept for ever."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def keep(self, media_type: str, pubkey: str) -> int:
        """Return for how many seconds an upload of *media_type* by *pubkey* is kept, or NEVER."""
        for rule in self._rules:
            if fnmatchcase(media_type, rule.type) and (not rule.pubkeys or pubkey in rule.pubkeys):
                return NEVER if rule.keep is None else rule.keep
        return NEVER

    def expires(self, media_type: str, pubkey: str, uploaded: int, wish: int) -> int:
        """Return when an upload goes: by the rules, or sooner if its owner has that *wish*; or NEVER."""
        return min(wish, uploaded + self.keep(media_type, pubkey))

    def to_json(self) -> str:
        """Return the rules as text, the same for the same rules."""
        return json.dumps([[rule.type, sorted(rule.pubkeys), rule.keep] for rule in self._rules])
