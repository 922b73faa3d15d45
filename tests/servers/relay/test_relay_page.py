"""What the relay tells of itself at `/`: a page for people, and who runs it in NIP-11."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from powdo.nips.bech32 import encode_npub
from powdo.servers.relay.about import About, page
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import Policy
from tests.relay_helpers import new_key, running_relay

OPERATOR = new_key().pubkey
DAY = 86400
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
MEMBERS = Policy(allowed=(), min_pow=20, limits=Limits(retention=30 * DAY, events_per_minute=600))
ABOUT = About(
    name='<b>"Relay"</b> & co',
    description="</p><script>alert(1)</script>",
    contact="mailto:a@relay.example?subject=\"><img src=x onerror='x'>",
    operator=OPERATOR,
)


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


async def get(url: str, accept: str | None) -> tuple[aiohttp.ClientResponse, Any]:
    """Return the answer to a GET and its body: JSON if it is."""
    headers = {} if accept is None else {"Accept": accept}
    async with aiohttp.ClientSession() as session, session.get(f"http{url[2:]}", headers=headers) as response:
        body = await (response.json if "json" in response.content_type else response.text)(encoding="utf-8")
        return response, body


def test_a_browser_gets_a_page_and_a_client_the_document(tmp_path: Path) -> None:
    """The same address answers by Accept, and says so to caches."""

    async def scenario() -> None:
        async with running_relay(tmp_path, MEMBERS, about=ABOUT) as url:
            response, text = await get(url, BROWSER)
            assert (response.status, response.content_type) == (200, "text/html")
            assert response.headers["Vary"] == "Accept"
            assert encode_npub(OPERATOR) in text
            assert url in text
            response, told = await get(url, "application/nostr+json")
            assert response.headers["Vary"] == "Accept"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert told["name"] == ABOUT.name
            assert told["description"] == ABOUT.description
            assert told["contact"] == ABOUT.contact
            assert told["pubkey"] == OPERATOR
            for accept in (None, "*/*", "text/plain"):
                response, text = await get(url, accept)
                assert response.content_type == "text/plain"
                assert "Nostr" in text

    asyncio.run(scenario())


def test_the_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    """Its policy forbids all but its own style, whose hash it names; nothing in it asks for more."""

    async def scenario() -> None:
        async with running_relay(tmp_path, MEMBERS) as url:
            response, text = await get(url, BROWSER)
        rules = dict(
            rule.strip().split(" ", 1) for rule in response.headers["Content-Security-Policy"].split(";")
        )
        (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert rules.pop("style-src") == f"'sha256-{digest}'"
        assert set(rules) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
        assert set(rules.values()) == {"'none'"}
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"

    asyncio.run(scenario())


def test_what_the_operator_wrote_is_text() -> None:
    """Markup in name, description, contact and address is shown, not obeyed."""
    parsed = Page(page(MEMBERS, ABOUT, 'wss://relay.example/"><script>'))
    assert {tag for tag, _ in parsed.elements} == {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd"),
        *("ul", "li", "a", "code"),
    }
    assert {name for _, attributes in parsed.elements for name in attributes} == {
        *("lang", "charset", "name", "content", "href", "rel"),
    }
    assert ABOUT.name in parsed.words
    assert ABOUT.description in parsed.words
    links = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    assert ABOUT.contact in links
    assert len(links) == 2


@pytest.mark.parametrize(
    ("contact", "linked"),
    [
        ("mailto:a@relay.example", True),
        ("https://relay.example/contact", True),
        ("nostr:npub1", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("http://[", False),
        ("call me", False),
    ],
)
def test_only_safe_contacts_are_links(contact: str, linked: bool) -> None:
    """A contact that is no address of mail, web or Nostr is shown as text."""
    parsed = Page(page(MEMBERS, About(contact=contact), "wss://relay.example"))
    assert contact in parsed.words
    links = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    assert (contact in links) is linked


def test_the_limits_are_told_in_words() -> None:
    """Who may publish, what strangers may, how long wraps stay: as it is enforced."""
    told = Page(page(MEMBERS, About(), "wss://relay.example")).words
    for words in (
        "Only members publish",
        "20 bits of proof of work; 1,000 of these are kept for one recipient",
        "Gift wraps are kept for 30 days",
        "262,144 bytes",
        "3 years back and 15 minutes ahead",
        "may publish 600 times a minute",
    ):
        assert words in told
    free = Policy(allowed=(), open=True, min_pow=20, limits=Limits(retention=0, newest=0))
    told = Page(page(free, About(), "wss://relay.example")).words
    assert "Everybody may publish" in told
    assert "0 seconds ahead" in told
    for words in ("members", "proof of work", "are kept for", "times a minute"):
        assert words not in told
