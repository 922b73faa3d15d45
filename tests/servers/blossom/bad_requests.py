"""Requests with something wrong, and what each is told: the tables of test_blossom_bad_requests.py.

Each line is one request as it goes over the wire; `@name` as Authorization is a token of `TOKENS`, made
when it is sent.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from powdo.nips.curve import SecretKey
from tests.blossom_server import ANA, BEN, sha, token

DATA = bytes(range(100))
HASH = sha(DATA)
_OTHER = "0" * 64
_STRANGER = SecretKey(bytes([9]) * 32)


def _coded(value: object) -> str:
    return "Nostr " + base64.b64encode(json.dumps(value).encode()).decode()


def _expiring(text: object, **options: object) -> Callable[[str], str]:
    return lambda verb: token(verb, HASH, expires=text, **options)  # type: ignore[arg-type]  # the table's own


#: A flaw of a token, and what is said of it, whatever the token was for.
FLAWS: dict[str, tuple[Callable[[str], str], str]] = {
    "not Nostr": (lambda verb: "Bearer " + token(verb, HASH)[6:], "not of the Nostr scheme"),
    "basic": (lambda _: "Basic YW5hOmFuYQ==", "not of the Nostr scheme"),
    "no token": (lambda _: "Nostr", "not base64"),
    "not base64": (lambda _: "Nostr !!!!", "not base64"),
    "base64 cut off": (lambda verb: token(verb, HASH)[:-2], "token is not"),
    "two tokens": (lambda verb: f"{token(verb, HASH)}, {token(verb, HASH)}", "not base64"),
    "too long": (lambda _: "Nostr " + "A" * 7000, "not an event"),
    "null": (lambda _: _coded(None), "not an event"),
    "a list": (lambda _: _coded([]), "not an event"),
    "a number": (lambda _: _coded(24242), "not an event"),
    "no fields": (lambda _: _coded({}), "not an event"),
    "tags of numbers": (lambda verb: token(verb, HASH, change={"tags": [[1]]}), "not an event"),
    "kind 1": (lambda verb: token(verb, HASH, kind=1), "not of kind 24242"),
    "kind as text": (lambda verb: token(verb, HASH, change={"kind": "24242"}), "not an event"),
    "dated ahead": (lambda verb: token(verb, HASH, created=600), "dated in the future"),
    "expired": (_expiring(1_700_000_000), "has expired"),
    "never expires": (lambda verb: token(tags=[["t", verb], ["x", HASH]]), "no expiration"),
    "expires abc": (_expiring("abc"), "no expiration"),
    "expires nowhere": (_expiring(""), "no expiration"),
    "expires in other digits": (_expiring("٤٠٠٠٠٠٠٠٠٠"), "no expiration"),
    "expires with a fraction": (_expiring("4000000000.0"), "no expiration"),
    "expires too late": (_expiring(4_000_000_000), "more than a day"),
    "expires in a week": (_expiring(int(time.time()) + 7 * 86400), "more than a day"),
    "no verb": (lambda _: token(tags=[["x", HASH], ["expiration", str(int(time.time()) + 60)]]), "not for '"),
    "verb media": (lambda _: token("media", HASH), "not for '"),
    "verb in capitals": (lambda verb: token(verb.upper(), HASH), "not for '"),
    "another server": (lambda verb: token(verb, HASH, servers=("blossom.example",)), "another server"),
    "server as URL": (lambda verb: token(verb, HASH, servers=("http://127.0.0.1/",)), "another server"),
    "x in capitals": (lambda verb: token(verb, HASH.upper()), "something else than its sha256"),
    "another signer": (lambda verb: token(verb, HASH, change={"pubkey": BEN.pubkey}), "id or signature"),
    "changed text": (lambda verb: token(verb, HASH, change={"content": "Delete all"}), "id or signature"),
    "signature of zeros": (lambda verb: token(verb, HASH, change={"sig": "0" * 128}), "id or signature"),
    "signature cut off": (lambda verb: token(verb, HASH, change={"sig": "0" * 126}), "not an event"),
}

TOKENS: dict[str, Callable[[], str]] = {
    "upload": lambda: token("upload", HASH),
    "two": lambda: token("upload", HASH, _OTHER),
    "other": lambda: token("upload", _OTHER),
    "bare": lambda: token("upload"),
    "get": lambda: token("get", HASH),
    "delete": lambda: token("delete", HASH),
    "delete other": lambda: token("delete", _OTHER),
    "delete bare": lambda: token("delete"),
    "delete by ben": lambda: token("delete", HASH, key=BEN),
    "list": lambda: token("list"),
    "list by ben": lambda: token("list", key=BEN),
    "stranger": lambda: token("upload", HASH, key=_STRANGER),
}


class Bad(NamedTuple):
    """A request, and the status and words it is refused with."""

    status: int
    reason: str
    method: str
    path: str
    headers: Mapping[str, str | None] = {}
    body: bytes | None = None


def _put(status: int, reason: str, body: bytes = DATA, **changed: str | None) -> Bad:
    headers = {"Authorization": "@upload", "Content-Type": "application/zip", "X-SHA-256": HASH}
    told = {name.replace("_", "-"): value for name, value in changed.items()}
    return Bad(status, reason, "PUT", "/upload", headers | told, body)


def _asked(status: int, reason: str, **changed: str | None) -> Bad:
    headers = {"Authorization": "@upload", "X-Content-Type": "application/zip", "X-SHA-256": HASH}
    told = {name.replace("_", "-"): value for name, value in changed.items()}
    return Bad(status, reason, "HEAD", "/upload", headers | {"X-Content-Length": "100"} | told)


def _mirror(status: int, reason: str, body: bytes, token: str | None = "@upload") -> Bad:
    return Bad(status, reason, "PUT", "/mirror", {"Authorization": token}, body)


def _list(status: int, reason: str, path: str, token: str | None = "@list") -> Bad:
    return Bad(status, reason, "GET", f"/list/{path}", {"Authorization": token})


_UPLOADS = {
    "no token": _put(401, "a token for 'upload' is required", Authorization=None),
    "empty token": _put(401, "not of the Nostr scheme", Authorization=""),
    "token for get": _put(401, "not for 'upload'", Authorization="@get"),
    "token without x": _put(401, "not for this blob", Authorization="@bare"),
    "token for another blob": _put(401, "not for this blob", Authorization="@other"),
    "token for another blob, hash not claimed": _put(
        401, "not for this blob", Authorization="@other", X_SHA_256=None
    ),
    "stranger": _put(403, "not on the allowlist", Authorization="@stranger"),
    "claims another hash": _put(401, "not for this blob", X_SHA_256=_OTHER),
    "claims another hash of its token": _put(
        409, "does not have the hash", Authorization="@two", X_SHA_256=_OTHER
    ),
    "other bytes": _put(409, "does not have the hash", b"x" * 100),
    "other bytes, hash not claimed": _put(401, "not for this blob", b"x" * 100, X_SHA_256=None),
    "claims in capitals": _put(400, "not a sha256", X_SHA_256=HASH.upper()),
    "claims in base64": _put(400, "not a sha256", X_SHA_256=base64.b64encode(bytes(32)).decode()),
    "claims too little": _put(400, "not a sha256", X_SHA_256=HASH[:-2]),
    "claims too much": _put(400, "not a sha256", X_SHA_256=HASH + "00"),
    "claims nothing": _put(400, "not a sha256", X_SHA_256=""),
    "claims a path": _put(400, "not a sha256", X_SHA_256="../../../etc/passwd"),
    "empty": _put(400, "empty blob", b""),
    "too large": _put(413, "limited to 1048576 bytes", b"", Content_Length="1048577"),
    "much too large": _put(413, "limited to 1048576 bytes", b"", Content_Length="999999999999999"),
    "no length": _put(411, "Content-Length is required", b"", Content_Length=None),
    "chunked": _put(
        411, "Content-Length is required", b"0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked"
    ),
    "html": _put(415, "taken are", Content_Type="text/html"),
    "image": _put(415, "taken are", Content_Type="image/png"),
    "multipart": _put(415, "taken are", Content_Type="multipart/form-data; boundary=x"),
    "form": _put(415, "taken are", Content_Type="application/x-www-form-urlencoded"),
    "any type": _put(400, "content type is malformed", Content_Type="*/*"),
    "half a type": _put(400, "content type is malformed", Content_Type="zip"),
    "type with markup": _put(400, "content type is malformed", Content_Type="text/<b>x"),
    "type of two": _put(400, "content type is malformed", Content_Type="application/zip, text/html"),
    "gzip": _put(415, "Content-Encoding is not taken", Content_Encoding="gzip"),
    "brotli": _put(415, "Content-Encoding is not taken", Content_Encoding="br"),
    "over already": _put(400, "in the past", X_Expiration="1700000000"),
    "over in words": _put(400, "not a moment", X_Expiration="tomorrow"),
    "over in a fraction": _put(400, "not a moment", X_Expiration="4000000000.5"),
    "over in other digits": _put(400, "not a moment", X_Expiration="٤٠٠٠٠٠٠٠٠٠"),
    "coded twice": _put(415, "Content-Encoding is not taken", Content_Encoding="identity, gzip"),
    "upload by POST": Bad(405, "not for this path", "POST", "/upload", {"Authorization": "@upload"}, DATA),
    "upload by PATCH": Bad(405, "not for this path", "PATCH", "/upload", {}, DATA),
    "upload read": Bad(405, "not for this path", "GET", "/upload"),
    "upload to a hash": Bad(405, "not for this path", "PUT", f"/{HASH}", {"Authorization": "@upload"}, DATA),
    "upload in a folder": Bad(404, "nothing here", "PUT", "/api/upload", {"Authorization": "@upload"}, DATA),
    "upload with a slash": Bad(404, "nothing here", "PUT", "/upload/", {"Authorization": "@upload"}, DATA),
    "upload in capitals": Bad(404, "nothing here", "PUT", "/UPLOAD", {"Authorization": "@upload"}, DATA),
    "media": Bad(404, "nothing here", "PUT", "/media", {"Authorization": "@upload"}, DATA),
    "media asked": Bad(404, "nothing here", "HEAD", "/media"),
    "report": Bad(404, "nothing here", "PUT", "/report", {}, b"{}"),
}
_QUESTIONS = {
    "no token": _asked(401, "a token for 'upload' is required", Authorization=None),
    "token for another blob": _asked(401, "not for this blob", Authorization="@other"),
    "token without x": _asked(401, "not for this blob", Authorization="@bare"),
    "stranger": _asked(403, "not on the allowlist", Authorization="@stranger"),
    "no hash": _asked(400, "X-SHA-256 is required", X_SHA_256=None),
    "hash in capitals": _asked(400, "not a sha256", X_SHA_256=HASH.upper()),
    "no length": _asked(411, "X-Content-Length is required", X_Content_Length=None),
    "negative": _asked(400, "not a number of bytes", X_Content_Length="-1"),
    "signed": _asked(400, "not a number of bytes", X_Content_Length="+1"),
    "fraction": _asked(400, "not a number of bytes", X_Content_Length="1.0"),
    "exponent": _asked(400, "not a number of bytes", X_Content_Length="1e3"),
    "hexadecimal": _asked(400, "not a number of bytes", X_Content_Length="0x10"),
    "underscored": _asked(400, "not a number of bytes", X_Content_Length="1_0"),
    "other digits": _asked(400, "not a number of bytes", X_Content_Length="٣"),
    "empty": _asked(400, "empty blob", X_Content_Length="0"),
    "too large": _asked(413, "limited to 1048576 bytes", X_Content_Length="1048577"),
    "html": _asked(415, "taken are", X_Content_Type="text/html"),
    "malformed type": _asked(400, "content type is malformed", X_Content_Type="x"),
}
_READS = {
    "unknown": Bad(404, "no such blob", "GET", f"/{_OTHER}"),
    "unknown asked": Bad(404, "no such blob", "HEAD", f"/{_OTHER}"),
    "capitals": Bad(400, "path is malformed", "GET", f"/{HASH.upper()}"),
    "one digit short": Bad(400, "path is malformed", "GET", f"/{HASH[1:]}"),
    "two digits long": Bad(400, "path is malformed", "GET", f"/{HASH}00"),
    "prefixed": Bad(400, "path is malformed", "GET", f"/x{HASH}"),
    "two slashes": Bad(400, "path is malformed", "GET", f"//{HASH}"),
    "slash after": Bad(400, "path is malformed", "GET", f"/{HASH}/"),
    "no extension after the dot": Bad(400, "path is malformed", "GET", f"/{HASH}."),
    "two extensions": Bad(400, "path is malformed", "GET", f"/{HASH}.tar.gz"),
    "long extension": Bad(400, "path is malformed", "GET", f"/{HASH}.abcdefghijk"),
    "coded dot": Bad(400, "path is malformed", "GET", f"/{HASH}%2Ezip"),
    "coded digit": Bad(400, "path is malformed", "GET", f"/%30{HASH[1:]}"),
    "coded NUL": Bad(400, "path is malformed", "GET", f"/{HASH}%00"),
    "up and down": Bad(404, "nothing here", "GET", "/../../etc/passwd"),
    "coded up and down": Bad(404, "nothing here", "GET", "/..%2F..%2Fetc%2Fpasswd"),
    "another folder": Bad(404, "nothing here", "GET", "/blossom.sqlite"),
    "range past the end": Bad(416, "past the end", "GET", f"/{HASH}", {"Range": "bytes=100-"}),
    "range of nothing": Bad(416, "past the end", "GET", f"/{HASH}", {"Range": "bytes=-0"}),
    "posted": Bad(405, "not for this path", "POST", f"/{HASH}", {}, b""),
    "patched": Bad(405, "not for this path", "PATCH", f"/{HASH}", {}, b""),
    "unheard of": Bad(405, "not for this path", "MKCOL", f"/{HASH}"),
}
_DELETIONS = {
    "no token": Bad(401, "a token for 'delete' is required", "DELETE", f"/{HASH}"),
    "token for upload": Bad(401, "not for 'delete'", "DELETE", f"/{HASH}", {"Authorization": "@upload"}),
    "token without x": Bad(401, "not for this blob", "DELETE", f"/{HASH}", {"Authorization": "@delete bare"}),
    "token for another": Bad(
        401, "not for this blob", "DELETE", f"/{HASH}", {"Authorization": "@delete other"}
    ),
    "another's blob": Bad(
        403, "belongs to another key", "DELETE", f"/{HASH}", {"Authorization": "@delete by ben"}
    ),
    "unknown": Bad(404, "no such blob", "DELETE", f"/{_OTHER}", {"Authorization": "@delete other"}),
    "junk after": Bad(400, "path is malformed", "DELETE", f"/{HASH}00", {"Authorization": "@delete"}),
    "all": Bad(404, "nothing here", "DELETE", "/", {"Authorization": "@delete"}),
    "an upload": Bad(405, "not for this path", "DELETE", "/upload", {"Authorization": "@delete"}),
}
_LISTS = {
    "no token": _list(401, "a token for 'list' is required", ANA.pubkey, None),
    "token for get": _list(401, "not for 'list'", ANA.pubkey, "@get"),
    "another's": _list(403, "to their owner only", ANA.pubkey, "@list by ben"),
    "nobody's": _list(400, "path is malformed", ""),
    "npub": _list(400, "path is malformed", "npub1xyz"),
    "capitals": _list(400, "path is malformed", ANA.pubkey.upper()),
    "junk after": _list(400, "path is malformed", f"{ANA.pubkey}/x"),
    "limit zero": _list(400, "limit is not a number", f"{ANA.pubkey}?limit=0"),
    "limit negative": _list(400, "limit is not a number", f"{ANA.pubkey}?limit=-1"),
    "limit in words": _list(400, "limit is not a number", f"{ANA.pubkey}?limit=all"),
    "limit empty": _list(400, "limit is not a number", f"{ANA.pubkey}?limit="),
    "limit endless": _list(400, "limit is not a number", f"{ANA.pubkey}?limit={'9' * 400}"),
    "limit in other digits": _list(400, "limit is not a number", f"{ANA.pubkey}?limit=%D9%A3"),
    "cursor that is none": _list(400, "cursor is not a sha256", f"{ANA.pubkey}?cursor=1"),
    "cursor of another": _list(400, "cursor is not a blob", f"{ANA.pubkey}?cursor={_OTHER}"),
    "posted": Bad(405, "not for this path", "POST", f"/list/{ANA.pubkey}", {}, b""),
}
_MIRRORS = {
    "no token": _mirror(401, "a token for 'upload' is required", b"{}", None),
    "token without x": _mirror(401, "names no blob", b"{}", "@bare"),
    "stranger": _mirror(403, "not on the allowlist", b"{}", "@stranger"),
    "no body": _mirror(400, "the body is not", b""),
    "not JSON": _mirror(400, "the body is not", b"url=https://blossom.example/x"),
    "a list": _mirror(400, "the body is not", b'["https://blossom.example/x"]'),
    "no url": _mirror(400, "the body is not", b"{}"),
    "url of a number": _mirror(400, "the body is not", b'{"url":1}'),
    "url with a user": _mirror(400, "not one of a blob", b'{"url":"https://ana:x@blossom.example/x"}'),
    "file": _mirror(400, "not one of a blob", b'{"url":"file:///etc/passwd"}'),
    "plain http": _mirror(400, "not one of a blob", b'{"url":"http://blossom.example/x"}'),
    "metadata service": _mirror(403, "not mirrored", b'{"url":"https://169.254.169.254/latest"}'),
    "this machine": _mirror(403, "not mirrored", b'{"url":"http://127.0.0.1/x"}'),
    "this machine by name": _mirror(403, "not mirrored", b'{"url":"http://localhost/x"}'),
    "this machine mapped": _mirror(403, "not mirrored", b'{"url":"https://[::ffff:127.0.0.1]/x"}'),
    "another port": _mirror(403, "not mirrored", b'{"url":"https://blossom.example:8443/x"}'),
    "too long": _mirror(413, "limited to 8192 bytes", b'{"url":"' + b"x" * 9000 + b'"}'),
    "read": Bad(405, "not for this path", "GET", "/mirror"),
}
#: Each needs a token for the verb.
ENDPOINTS = {
    "PUT /upload": ("upload", lambda told: _put(401, "", Authorization=told)),
    "HEAD /upload": ("upload", lambda told: _asked(401, "", Authorization=told)),
    "PUT /mirror": ("upload", lambda told: _mirror(401, "", b"{}", told)),
    "DELETE": ("delete", lambda told: Bad(401, "", "DELETE", f"/{HASH}", {"Authorization": told})),
    "GET /list": ("list", lambda told: _list(401, "", ANA.pubkey, told)),
}
ROWS = {
    f"{group}: {name}": row
    for group, rows in (
        ("upload", _UPLOADS),
        ("asked", _QUESTIONS),
        ("read", _READS),
        ("delete", _DELETIONS),
        ("list", _LISTS),
        ("mirror", _MIRRORS),
    )
    for name, row in rows.items()
}


def _raw(line: bytes, header: bytes = b"X: y", rest: bytes = b"") -> bytes:
    return b"\r\n".join([line, b"Host: x", header, b"", rest])


_GET, _PUT = b"GET / HTTP/1.1", b"PUT /upload HTTP/1.1"
_LONG = b"x" * 100_000
#: What no library would send; the connection ends with the answer.
RAW: dict[str, bytes] = {
    "no HTTP": b"HELO x\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20) + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": _raw(b"GET / HTTP/9.9"),
    "a blank method": _raw(b" / HTTP/1.1"),
    "a method of symbols": _raw(b"G<T / HTTP/1.1"),
    "a blank in the path": _raw(b"GET /a b HTTP/1.1"),
    "a long path": _raw(b"GET /" + _LONG + b" HTTP/1.1"),
    "a long header": _raw(_GET, b"X: " + _LONG),
    "a header without colon": _raw(_GET, b"Nonsense"),
    "a blank before the colon": _raw(_GET, b"X : y"),
    "a NUL in a header": _raw(_GET, b"X: \x00"),
    "a header name of symbols": _raw(_GET, b"X@: y"),
    "a length of letters": _raw(_PUT, b"Content-Length: ten"),
    "a negative length": _raw(_PUT, b"Content-Length: -1"),
    "a signed length": _raw(_PUT, b"Content-Length: +1"),
    "an endless length": _raw(_PUT, b"Content-Length: " + b"9" * 40),
    "two lengths": _raw(_PUT, b"Content-Length: 1\r\nContent-Length: 2", b"xx"),
    "length and chunks": _raw(_PUT, b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "an unknown coding": _raw(_PUT, b"Transfer-Encoding: gzip"),
    "chunks coded twice": _raw(_PUT, b"Transfer-Encoding: chunked, gzip"),
}
