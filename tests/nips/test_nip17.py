"""The file message (NIP-17, kind 15)."""

from __future__ import annotations

import pytest

from powdo.errors import BadRecordError
from powdo.nips.curve import SecretKey
from powdo.nips.event import Tags, Unsigned
from powdo.nips.nip17 import FileMessage

AUTHOR, ONE, TWO = (SecretKey(bytes([number]) * 32).pubkey for number in (3, 5, 7))
MESSAGE = FileMessage(
    url="https://blossom.example/" + "cd" * 32,
    decryption_key="ab" * 32,
    decryption_nonce="01" * 16,
    x="cd" * 32,
    ox="ef" * 32,
    size=65536,
    recipients=(ONE, TWO),
    fallbacks=("http://127.0.0.1:3000/" + "cd" * 32,),
    extra=(("subject", "é"), ("alt",)),
)
RUMOR = MESSAGE.to_rumor(AUTHOR, 1700000000)


def rumor(change: dict[str, list[str] | None], content: str | None = None) -> Unsigned:
    """Return the rumor with the values of some tags replaced by none, one or several others."""
    tags: Tags = tuple(tag for tag in RUMOR.tags if tag[0] not in change)
    tags += tuple((name, value) for name, values in change.items() for value in values or ())
    return RUMOR._replace(tags=tags, content=RUMOR.content if content is None else content)


def test_round_trip() -> None:
    """What is written is read, with the tags of others passed through."""
    assert FileMessage.from_rumor(RUMOR) == MESSAGE
    assert FileMessage.from_rumor(Unsigned.from_json(RUMOR.to_json())) == MESSAGE


def test_tags_are_those_of_nip_17() -> None:
    """The rumor has the kind, the content and the tag names that NIP-17 gives them."""
    assert (RUMOR.kind, RUMOR.content, RUMOR.pubkey) == (15, MESSAGE.url, AUTHOR)
    assert RUMOR.tag_values("p") == (ONE, TWO)
    assert {tag[0]: tag[1] for tag in RUMOR.tags[2:-2]} == {
        "file-type": "application/zip",
        "encryption-algorithm": "zip-aes256",
        "decryption-key": "ab" * 32,
        "decryption-nonce": "01" * 16,
        "x": "cd" * 32,
        "ox": "ef" * 32,
        "size": "65536",
        "fallback": MESSAGE.fallbacks[0],
    }


NAMES = ["file-type", "encryption-algorithm", "decryption-key", "decryption-nonce", "x", "ox", "size"]


@pytest.mark.parametrize("name", NAMES)
def test_each_tag_stands_once(name: str) -> None:
    """A tag that is missing or doubled, even with the same value, is refused."""
    value = RUMOR.tag(name)
    assert value is not None
    for values in ([], [value, value]):
        with pytest.raises(BadRecordError, match=name):
            FileMessage.from_rumor(rumor({name: values}))
    with pytest.raises(BadRecordError, match=name):
        FileMessage.from_rumor(RUMOR._replace(tags=(*RUMOR.tags, (name,))))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decryption-key", "ab" * 31),
        ("decryption-key", "AB" * 32),
        ("decryption-nonce", "01" * 12),
        ("x", "cd" * 33),
        ("x", "zz" * 32),
        ("ox", ""),
        ("size", ""),
        ("size", "-1"),
        ("size", "+1"),
        ("size", "1.0"),
        ("size", "007"),
        ("size", "٣"),
        ("size", "1_0"),
        ("size", "9" * 16),
        ("p", ONE[:-1]),
        ("p", "npub1"),
        ("fallback", "file:///etc/passwd"),
        ("fallback", ""),
    ],
)
def test_malformed_value_is_refused(name: str, value: str) -> None:
    """Hex of a wrong length or case, numbers in disguise and foreign addresses are refused."""
    with pytest.raises(BadRecordError):
        FileMessage.from_rumor(rumor({name: [value]}))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a/b",
        "https://",
        "https:///x",
        "//a/b",
        "https://a:b/x",
        "https://u:p@a/x",
        "https://a/\n",
        "https://ä/",
    ],
)
def test_url_must_be_plain_http(url: str) -> None:
    """The address is http or https, without user, control characters or a bad port."""
    with pytest.raises(BadRecordError, match="URL"):
        FileMessage.from_rumor(rumor({}, content=url))


def test_recipients_fallbacks_and_kind() -> None:
    """There is a recipient, the fallbacks are few, and another kind is no file message."""
    with pytest.raises(BadRecordError, match="recipients"):
        FileMessage.from_rumor(rumor({"p": None}))
    with pytest.raises(BadRecordError, match="fallbacks"):
        FileMessage.from_rumor(rumor({"fallback": [MESSAGE.url] * 17}))
    with pytest.raises(BadRecordError, match="kind 14"):
        FileMessage.from_rumor(RUMOR._replace(kind=14))
