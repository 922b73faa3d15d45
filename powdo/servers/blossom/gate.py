"""Who may do what: the token of a request, and the allowlist."""

from __future__ import annotations

import time
from collections.abc import Collection

from aiohttp.web_request import BaseRequest

from powdo.errors import PeerProtocolError
from powdo.nips.blossom_tokens import Token, read_token
from powdo.servers.allowlist import Allowlist
from powdo.servers.blossom.removals import Removals
from powdo.servers.blossom.wire import Refusal


class Gate:
    """Checks tokens for a server known as *domains*; *everyone* may write on an open server."""

    def __init__(
        self, allowlist: Allowlist, removals: Removals, domains: Collection[str], *, everyone: bool
    ) -> None:
        self._allowlist = allowlist
        self._removals = removals
        self._domains = domains
        self._everyone = everyone

    def token(self, request: BaseRequest, verb: str) -> Token:
        """Return the token of *request* for *verb*. Raises: Refusal 401."""
        headers = request.headers.getall("Authorization", [])
        if not headers:
            raise Refusal(401, f"a token for '{verb}' is required (BUD-11)")
        if len(headers) > 1:
            raise Refusal(401, "more than one Authorization header")
        try:
            return read_token(headers[0], verb, domains=self._domains, now=int(time.time()))
        except PeerProtocolError as error:
            raise Refusal(401, error.message) from None

    def require_hash(self, token: Token, sha256: str) -> None:
        """Let pass a token that names *sha256*. Raises: Refusal 401."""
        if sha256 not in token.hashes:
            raise Refusal(401, "token is not for this blob")

    def require_listed(self, token: Token) -> None:
        """Let pass a token of a key on the allowlist. Raises: Refusal 403."""
        if not self._lists(token.pubkey):
            raise Refusal(403, "this key is not on the allowlist")

    def require_owner(self, token: Token) -> None:
        """Let pass a token of a key that may see to its own blobs: also for a while after its removal.

        Raises: Refusal 403.
        """
        if not (self._lists(token.pubkey) or self._removals.lets(token.pubkey)):
            raise Refusal(403, "this key is not on the allowlist, or has not been for a week")

    def _lists(self, pubkey: str) -> bool:
        return self._everyone or pubkey in self._allowlist

    def reader(self, request: BaseRequest, sha256: str) -> Token:
        """Return the token that lets *request* read *sha256* on a private server. Raises: Refusal."""
        token = self.token(request, "get")
        if token.hashes:  # optional for get (BUD-11)
            self.require_hash(token, sha256)
        self.require_listed(token)
        return token
