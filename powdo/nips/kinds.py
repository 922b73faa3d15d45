"""Event kinds that several parts must know alike."""

from __future__ import annotations

#: NIP-59: a gift wrap that relays keep, and one that they only pass on.
GIFT_WRAP, EPHEMERAL_GIFT_WRAP = 1059, 21059
WRAP_KINDS = (GIFT_WRAP, EPHEMERAL_GIFT_WRAP)
