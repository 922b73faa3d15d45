"""What POWDO_PROXY may say, and whom it is for."""

from __future__ import annotations

import pytest

from powdo.errors import ConfigurationError
from powdo.settings.proxy import proxy, way_to
from powdo.settings.units import check_url


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", None),
        ("socks5h://127.0.0.1:9050", "socks5h://127.0.0.1:9050"),
        ("socks5://ana:secret@[::1]:1080/", "socks5h://ana:secret@[::1]:1080"),
        ("http://proxy.example:3128", "http://proxy.example:3128"),
    ],
)
def test_what_is_a_proxy(monkeypatch, text, meant):
    """SOCKS and HTTP proxies are taken; names are always looked up by the proxy."""
    monkeypatch.setenv("POWDO_PROXY", text)
    assert proxy() == meant


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9050",
        "socks5h://127.0.0.1",
        "socks4://h:1",
        "https://h:1",
        "http://a@h:1",
        "http://h:99999",
    ],
)
def test_what_is_none(monkeypatch, text):
    """What is half an address, or a kind of proxy that we do not speak to, is refused with an example."""
    monkeypatch.setenv("POWDO_PROXY", text)
    with pytest.raises(ConfigurationError, match="POWDO_PROXY") as caught:
        proxy()
    assert caught.value.hint is not None
    assert text not in caught.value.message, "a password may be in it"


def test_whom_it_leads_to(monkeypatch):
    """Everybody but this machine; without it a name of Tor's is refused instead of looked up here."""
    monkeypatch.setenv("POWDO_PROXY", "socks5://127.0.0.1:9050")
    assert way_to("relay.example") == way_to("abc.onion") == "socks5h://127.0.0.1:9050"
    assert way_to("localhost") is way_to("127.0.0.1") is way_to("::1") is None
    monkeypatch.delenv("POWDO_PROXY")
    assert way_to("relay.example") is None
    with pytest.raises(ConfigurationError, match="through a proxy only"):
        way_to("abc.ONION.")


def test_names_of_tor_need_no_tls():
    """ws:// and http:// are allowed to `.onion`, and to no name that only looks like it."""
    assert check_url("ws://abc.onion", ("ws",)) == "ws://abc.onion"
    with pytest.raises(ConfigurationError, match="not encrypted"):
        check_url("ws://abc.onion.example", ("ws",))
