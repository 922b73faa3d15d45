"""What the relay tells of itself: to clients the information document of NIP-11, to people a page.

Both are made from the limits that are really enforced. The page has no script, loads nothing, and what the
operator wrote is text in it, never markup.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from powdo import __version__
from powdo.nips.bech32 import encode_npub
from powdo.nips.kinds import GIFT_WRAP
from powdo.nips.relay_messages import MAX_SUBSCRIPTION_ID
from powdo.servers.relay.policy import Policy
from powdo.settings.schema import Relay as Section

_DEFAULT = Section()
NIPS = (1, 9, 11, 13, 40, 42, 45, 59, 70)
_STYLE = (
    "body{max-width:42rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 sans-serif;overflow-wrap:anywhere}"
    ":root{color-scheme:light dark}dt{font-weight:bold}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
#: Where a contact may lead that is a link; anything else is shown as text.
_CONTACTS = ("https", "mailto", "nostr")
_UNITS = ((365 * 86400, "year"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Who runs the relay and what for; *operator* is a hex public key."""

    name: str = _DEFAULT.name
    description: str = _DEFAULT.description
    contact: str | None = None
    operator: str | None = None


def information(policy: Policy, about: About, *, managed: bool = False) -> dict[str, object]:
    """Return the relay information document (NIP-11): the limits that are really enforced."""
    limits = policy.limits
    document: dict[str, object] = {
        "name": about.name,
        "description": about.description,
        "supported_nips": [*NIPS, 86] if managed else list(NIPS),
        "version": __version__,
        "limitation": {
            "max_message_length": limits.max_message,
            "max_subscriptions": limits.max_subscriptions,
            "max_filters": limits.max_filters,
            "max_subid_length": MAX_SUBSCRIPTION_ID,
            "max_limit": limits.max_limit,
            "default_limit": limits.max_limit,
            "max_event_tags": limits.max_tags,
            "min_pow_difficulty": 0 if policy.open else policy.min_pow,
            "auth_required": False,
            "payment_required": False,
            "restricted_writes": not policy.open,
            "created_at_lower_limit": limits.oldest,
            "created_at_upper_limit": limits.newest,
        },
    }
    if about.operator is not None:
        document["pubkey"] = about.operator
    if about.contact is not None:
        document["contact"] = about.contact
    if limits.retention:
        document["retention"] = [{"kinds": [GIFT_WRAP], "time": limits.retention}]
    return document


# --- the page ---


def page(policy: Policy, about: About, url: str) -> str:
    """Return the page for people who look at the relay, which clients call *url*, with a browser."""
    name = escape(about.name)
    http = f"http{url.removeprefix('ws')}"
    facts = {"Address": f"<code>{escape(url)}</code>"}
    if about.contact is not None:
        facts["Contact"] = _contact(about.contact)
    if about.operator is not None:
        facts["Operator"] = f"<code>{encode_npub(about.operator)}</code>"
    facts["Software"] = f"powdo {escape(__version__)}"
    facts["For programs"] = (
        f'the <a href="https://github.com/nostr-protocol/nips/blob/master/11.md">NIP-11</a> document: '
        f"<code>curl -H 'Accept: application/nostr+json' {escape(http)}</code>"
    )
    terms = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in facts.items())
    limits = "".join(f"<li>{escape(line)}</li>" for line in _limits(policy))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{name}</h1><p>{escape(about.description)}</p>"
        f"<p>This is a Nostr relay. {escape(_purpose(policy))} There is nothing to see here with a browser: "
        f"give the address to a Nostr client.</p>"
        f"<dl>{terms}</dl><h2>Limits</h2><ul>{limits}</ul></body></html>\n"
    )


def _purpose(policy: Policy) -> str:
    kept = "hands an encrypted message (a gift wrap) to nobody but the one it is for."
    if policy.open:
        return f"It takes everybody's events, and {kept}"
    return f"It takes events, encrypted messages above all, from its members, and {kept}"


def _limits(policy: Policy) -> Iterator[str]:
    """Yield the limits in words, those that matter most first."""
    limits = policy.limits
    if policy.open:
        yield "Everybody may publish."
    else:
        yield "Only members publish; who sends a gift wrap authenticates as one."
    if policy.min_pow and not policy.open:
        yield (
            f"Others may send members gift wraps with {policy.min_pow} bits of proof of work; "
            f"{limits.stranger_wraps_per_recipient:,} of these are kept for one recipient."
        )
    if limits.retention:
        yield f"Gift wraps are kept for {_span(limits.retention)}, or until their recipient deletes them."
    yield f"A message has at most {limits.max_message:,} bytes, an event at most {limits.max_tags:,} tags."
    yield f"Events are dated at most {_span(limits.oldest)} back and {_span(limits.newest)} ahead."
    yield (
        f"A connection has at most {limits.max_subscriptions:,} subscriptions of {limits.max_filters:,} "
        f"filters; a filter finds at most {limits.max_limit:,} stored events."
    )
    rates = ((limits.events_per_minute, "publish"), (limits.requests_per_minute, "ask"))
    for rate, verb in rates:
        if rate:
            yield f"Who is not authenticated as a member may {verb} {rate:,} times a minute."


def _span(seconds: int) -> str:
    """Return a length of time in the largest unit that leaves nothing over."""
    fitting = (item for item in _UNITS if seconds >= item[0] and seconds % item[0] == 0)
    size, unit = next(fitting, _UNITS[-1])
    count = seconds // size
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _contact(contact: str) -> str:
    text = escape(contact)
    if contact.partition(":")[0].lower() in _CONTACTS:
        return f'<a href="{text}" rel="nofollow noreferrer">{text}</a>'
    return text
