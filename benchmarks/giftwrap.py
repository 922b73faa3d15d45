"""Gift wraps made and opened per CPU second: powdo, nostr-sdk (Rust), and the curve alone.

    python benchmarks/giftwrap.py

The rumor is the file message of a bundle, 0.9 KB of JSON; both sides turn event objects into JSON and
back. The floor is what libsecp256k1 must do at least, through our own curve module: for a wrap two
signatures, a new keypair and two ECDH (one where the key with the recipient is remembered); to open one, two
verifications and two ECDH (one where the author is known). `powdo` remembers keys with known peers;
`powdo, stranger` does not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import measure

from powdo.nips.curve import SecretKey, verify
from powdo.nips.event import Event, Unsigned
from powdo.nips.giftwrap import seal, unwrap, wrap
from powdo.nips.nip17 import FileMessage

COUNT = 200
ROUNDS = 9
AUTHOR, RECIPIENT = SecretKey(b"\x02" * 32), SecretKey(b"\x01" * 32)


def rumor() -> Unsigned:
    """Return the rumor that announces a bundle at two addresses."""
    return FileMessage(
        url=f"https://blossom.example/{'ab' * 32}.zip",
        fallbacks=(f"https://mirror.example/{'ab' * 32}.zip",),
        decryption_key="0f" * 32,
        decryption_nonce="00" * 16,
        x="ab" * 32,
        ox="cd" * 32,
        size=65536,
        recipients=(RECIPIENT.pubkey,),
    ).to_rumor(AUTHOR.pubkey, 1_795_000_000)


def make(message: Unsigned, author: SecretKey) -> bytes:
    """Return *message* wrapped, as the bytes that go to a relay."""
    aux = os.urandom(160)
    sealed = seal(message, author, RECIPIENT.pubkey, created_at=1_794_900_000, nonce=aux[:32], aux=aux[32:64])
    once = SecretKey(aux[64:96])
    wrapped = wrap(sealed, once, RECIPIENT.pubkey, created_at=1_794_950_000, nonce=aux[96:128], aux=aux[128:])
    return wrapped.to_bytes()


def open_wrap(text: str, recipient: SecretKey) -> None:
    """Open one gift wrap, every layer checked."""
    unwrap(Event.from_json(json.loads(text)), recipient)


def floor_make(agreements: int) -> None:
    """Do what the curve must for one gift wrap."""
    aux = os.urandom(128)
    once = SecretKey(aux[:32])
    for _ in range(agreements):
        once.ecdh_x(RECIPIENT.pubkey)
    AUTHOR.sign(aux[32:64], aux[64:96])
    once.sign(aux[96:128], aux[64:96])


def floor_open(event: Event, agreements: int) -> None:
    """Do what the curve must to open one gift wrap."""
    digest, signature = bytes.fromhex(event.id), bytes.fromhex(event.sig)
    for _ in range(2):
        verify(event.pubkey, digest, signature)
    for _ in range(agreements):
        RECIPIENT.ecdh_x(event.pubkey)


def nostr_sdk(message: Unsigned, text: str) -> dict[str, Callable[[], object]]:
    """Return the same work done by nostr-sdk, which remembers no keys; nothing where it is not installed."""
    try:
        import nostr_sdk as sdk
    except ModuleNotFoundError:
        measure.write("nostr-sdk is not installed (pip install .[test]): its rows are missing\n")
        return {}
    author = sdk.Keys.parse(AUTHOR.secret_bytes().hex())
    recipient = sdk.Keys.parse(RECIPIENT.secret_bytes().hex())
    public = sdk.PublicKey.parse(RECIPIENT.pubkey)
    plain = json.dumps(message.to_json())

    def make_theirs() -> None:
        unsigned = sdk.UnsignedEvent.from_json(plain)
        sdk.nip59_make_gift_wrap(author, public, unsigned).as_json()

    def open_theirs() -> None:
        event = sdk.Event.from_json(text)
        assert event.verify()
        sdk.UnwrappedGift.from_gift_wrap(recipient, event).rumor()

    return {"wrap: nostr-sdk": make_theirs, "unwrap: nostr-sdk": open_theirs}


def main() -> None:
    """Run all in turns and print ratios."""
    message = rumor()
    text = make(message, AUTHOR)
    event = Event.from_json(json.loads(text))

    def stranger(work: Callable[[], object], key: SecretKey) -> Callable[[], object]:
        def run() -> None:
            key.remembered.clear()
            work()

        return run

    works: dict[str, Callable[[], object]] = {
        "wrap: powdo": lambda: make(message, AUTHOR),
        "wrap: powdo, stranger": stranger(lambda: make(message, AUTHOR), AUTHOR),
        "wrap: floor, key remembered": lambda: floor_make(1),
        "wrap: floor": lambda: floor_make(2),
        "unwrap: powdo": lambda: open_wrap(text, RECIPIENT),
        "unwrap: powdo, stranger": stranger(lambda: open_wrap(text, RECIPIENT), RECIPIENT),
        "unwrap: floor, key remembered": lambda: floor_open(event, 1),
        "unwrap: floor": lambda: floor_open(event, 2),
    } | nostr_sdk(message, text)

    def many(work: Callable[[], object]) -> Callable[[], float]:
        def run() -> None:
            for _ in range(COUNT):
                work()

        return lambda: measure.own(run)

    measure.headline(f"Gift wraps of a rumor of {len(message.to_text())} bytes, {COUNT} a round")
    rounds = measure.in_turns({name: many(work) for name, work in works.items()}, ROUNDS)
    measure.show(rounds, COUNT)
    measure.write()
    for what, goal in (("wrap", 3.5), ("unwrap", 6.0)):
        if f"{what}: nostr-sdk" in rounds:
            for who in ("powdo", "powdo, stranger"):
                speed = measure.ratio(rounds, f"{what}: nostr-sdk", f"{what}: {who}")
                measure.at_least(f"{what}: {who} / nostr-sdk", speed, goal)
        for who, floor in (("powdo", "floor, key remembered"), ("powdo, stranger", "floor")):
            share = measure.ratio(rounds, f"{what}: {floor}", f"{what}: {who}")
            measure.at_least(f"{what}: {who} / {floor}", share, 0.5)


if __name__ == "__main__":
    main()
