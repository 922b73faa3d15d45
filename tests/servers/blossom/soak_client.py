"""One client of the soak: python -m tests.servers.blossom.soak_client URL SLOT SEED, until it is killed.

It uploads, reads, lists and deletes at random, checks every answer, and says on stdout what it knows:
`+HASH` is there, `?HASH` may be there, `-HASH` is gone, `#WORD` was done; `!…` is what went wrong.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import sys
import time
from urllib.parse import urlsplit

from powdo.nips.blossom_tokens import make_token
from powdo.nips.curve import SecretKey

_KEPT = 12  # blobs of this client's key, about
_LARGEST = 4 << 20
_PAUSE = 0.05


def _say(sign: str, text: str) -> None:
    os.write(1, f"{sign}{text}\n".encode())  # one write, so that a kill leaves whole lines


class Client:
    """Does one thing after another on one connection."""

    def __init__(self, url: str, slot: int, seed: int) -> None:
        parts = urlsplit(url)
        self._url = url
        self._line = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=60)
        self._key = SecretKey(bytes([slot + 1]) * 32)
        self._dice = random.Random(seed)

    def _ask(
        self, method: str, path: str, verb: str, *hashes: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        now = int(time.time())
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if verb:
            told["Authorization"] = make_token(
                self._key,
                verb,
                server=self._url,
                hashes=hashes,
                now=now,
                aux=os.urandom(32),
            )
        self._line.request(method, path, body, told)
        response = self._line.getresponse()
        return response.status, response.read()

    def owned(self) -> list[str]:
        """Return the hashes this key has, oldest first."""
        found: list[str] = []
        while True:
            after = f"&cursor={found[-1]}" if found else ""
            status, body = self._ask("GET", f"/list/{self._key.pubkey}?limit=5{after}", "list")
            assert status == 200, (status, body)
            page = [item["sha256"] for item in json.loads(body)]
            if not page:
                return found[::-1]
            found += page

    def upload(self) -> str:
        """Put a new blob, now and then one that ends soon; return its hash."""
        data = os.urandom(int(_LARGEST ** self._dice.uniform(0.4, 1)))
        sha256 = hashlib.sha256(data).hexdigest()
        short = self._dice.random() < 0.1
        headers = {"Content_Type": "application/zip", "X_SHA_256": sha256}
        if short:
            headers["X_Expiration"] = str(int(time.time()) + 5)
        _say("?", sha256)
        status, body = self._ask("PUT", "/upload", "upload", sha256, body=data, **headers)
        assert status == 201, (status, body)
        _say("#" if short else "+", "short" if short else sha256)
        return sha256

    def read(self, sha256: str, *, there: bool) -> None:
        """Get a blob whole or in part; it is right, or gone if it need not be *there*."""
        if self._dice.random() < 0.5:
            status, data = self._ask("GET", f"/{sha256}.zip", "")
            right = status == 200 and hashlib.sha256(data).hexdigest() == sha256
        else:
            status, data = self._ask("GET", f"/{sha256}", "", Range="bytes=-100")
            right = status == 206 and len(data) == 100
        assert right or (status == 404 and not there), (status, len(data), sha256)

    def delete(self, sha256: str) -> None:
        """Delete a blob, which may have ended meanwhile."""
        _say("?", sha256)
        status, body = self._ask("DELETE", f"/{sha256}", "delete", sha256)
        assert status in (204, 404), (status, body)
        _say("-", sha256)

    def step(self) -> str:
        """Do one thing; return its name."""
        doing = self._dice.choices(["upload", "read", "delete", "break off"], [4, 6, 2, 1])[0]
        if doing == "upload":
            self.read(self.upload(), there=True)
        elif doing == "break off":
            self._line.putrequest("PUT", "/upload")
            self._line.putheader("Content-Length", "1000000")
            self._line.endheaders(b"x" * self._dice.choice([1000, 900_000]))
            self._line.close()
        else:
            owned = self.owned()
            for sha256 in owned[: max(len(owned) - _KEPT, doing == "delete")]:
                self.delete(sha256)
            if owned:
                self.read(self._dice.choice(owned), there=False)
        return doing


def main(url: str, slot: str, seed: str) -> None:
    """Go on until killed."""
    client = Client(url, int(slot), int(seed))
    while True:
        try:
            _say("#", client.step())
        except (AssertionError, OSError, http.client.HTTPException) as error:
            _say("!", repr(error))
            raise
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
