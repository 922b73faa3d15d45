"""What the service tells of itself (NIP-11): on what terms it mines, and how much waits."""

from __future__ import annotations

from typing import Any

from powdo import __version__
from powdo.nips.pow_terms import UNIT
from powdo.servers.pow.service import KEPT, Service

NIPS = (11, 13, 42)


def terms(service: Service) -> dict[str, Any]:
    """Return the key `pow` of the document, by which a client knows the price beforehand."""
    rules, (jobs, seconds) = service.rules, service.queue
    told = rules.terms
    return {
        "min_target": told.min_target,
        "max_target": told.max_target,
        "base_msat": told.base,
        "rate_msat": told.rate,
        "rate_unit_blocks": UNIT,
        "price": "base_msat + ceil(rate_msat * 2^target * blocks / rate_unit_blocks); blocks are those of 64 "
        "bytes of the serialized event from the last digits of its nonce tag to its end, padding included",
        "max_seconds": told.max_seconds,
        "blocks_per_second": round(told.speed),
        "foreign_pubkeys": told.foreign,
        "members_only": rules.members_only,
        "members_pay": rules.members_pay,
        "results_kept_seconds": KEPT,
        "queue": {"jobs": jobs, "seconds": round(seconds, 1)},
    }


def information(service: Service, *, name: str, max_message: int) -> dict[str, Any]:
    """Return the document of a service that stands alone."""
    rules = service.rules
    return {
        "name": name,
        "description": "Mines proof of work (NIP-13) for others: no relay.",
        "supported_nips": list(NIPS),
        "software": "powdo",
        "version": __version__,
        "limitation": {
            "max_message_length": max_message,
            "auth_required": True,
            "payment_required": rules.members_pay or not rules.members_only,
        },
        "fees": {"pow": [{"amount": rules.terms.base, "unit": "msats"}]},
        "pow": terms(service),
    }
