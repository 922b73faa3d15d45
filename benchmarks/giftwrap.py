"""Gift wraps made and opened per CPU second: powdo, nostr-sdk (Rust), and the curve alone.

    python benchmarks/giftwrap.py

The rumor is the file message of a bundle, 0.9 KB of JSON; both sides turn event objects into JSON and
back, and open gift wraps of as many one-time keys. The floor is what libsecp256k1 must do at least, through
our own curve module: for a wrap two signatures, a new keypair and two ECDH (one where the key with the
recipient is remembered); to open one, two verifications and two ECDH (one where the author is known).
`powdo` remembers keys with known peers and where they lie on the curve; `powdo, stranger` does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import measure

from powdo.nips.curve import SecretKey, point, verify
from powdo.nips.event import Event, Unsigned
from powdo.nips.giftwrap import Unwrapped, seal, unwrap, wrap
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


def open_wrap(text: bytes) -> Unwrapped:
    """Open one gift wrap, every layer checked."""
    return unwrap(Event.parse(text), RECIPIENT)


def floor_make(agreements: int) -> None:
    """Do what the curve must for one gift wrap."""
    aux = os.urandom(128)
    once = SecretKey(aux[:32])
    for key in (once, AUTHOR)[:agreements]:
        key.ecdh_x(RECIPIENT.pubkey)
    AUTHOR.sign(aux[32:64], aux[64:96])
    once.sign(aux[96:128], aux[64:96])


def floor_open(opened: Unwrapped, agreements: int) -> None:
    """Do what the curve must to open one gift wrap."""
    layers = (opened.wrap, opened.seal)
    for event in layers:
        assert verify(event.pubkey, bytes.fromhex(event.id), bytes.fromhex(event.sig))
    for event in layers[:agreements]:
        RECIPIENT.ecdh_x(event.pubkey)


def forget() -> None:
    """Make strangers of author and recipient: forget their keys and where they lie on the curve."""
    AUTHOR.remembered.clear()
    RECIPIENT.remembered.clear()
    point.cache_clear()


def nostr_sdk(message: Unsigned, texts: Sequence[bytes]) -> dict[str, Callable[[int], object]]:
    """Return the same work done by nostr-sdk, which remembers no keys; nothing where it is not installed."""
    try:
        import nostr_sdk as sdk
    except ModuleNotFoundError:
        measure.write("nostr-sdk is not installed (pip install .[test]): its rows are missing\n")
        return {}
    author = sdk.Keys.parse(AUTHOR.secret_bytes().hex())
    recipient = sdk.Keys.parse(RECIPIENT.secret_bytes().hex())
    public = sdk.PublicKey.parse(RECIPIENT.pubkey)
    plain, wraps = message.to_bytes().decode(), [text.decode() for text in texts]

    def make_theirs(_: int) -> None:
        unsigned = sdk.UnsignedEvent.from_json(plain)
        sdk.nip59_make_gift_wrap(author, public, unsigned).as_json()

    def open_theirs(number: int) -> None:
        event = sdk.Event.from_json(wraps[number])
        assert event.verify()
        sdk.UnwrappedGift.from_gift_wrap(recipient, event).rumor()

    return {"wrap: nostr-sdk": make_theirs, "unwrap: nostr-sdk": open_theirs}


def ours(message: Unsigned, texts: Sequence[bytes]) -> dict[str, Callable[[int], object]]:
    """Return our work and what the curve must do of it; each takes the number of the gift wrap."""
    opened = list(map(open_wrap, texts))

    def stranger(work: Callable[[int], object]) -> Callable[[int], None]:
        def run(number: int) -> None:
            forget()
            work(number)

        return run

    return {
        "wrap: powdo": lambda _: make(message, AUTHOR),
        "wrap: powdo, stranger": stranger(lambda _: make(message, AUTHOR)),
        "wrap: floor, key remembered": lambda _: floor_make(1),
        "wrap: floor": stranger(lambda _: floor_make(2)),
        "unwrap: powdo": lambda number: open_wrap(texts[number]),
        "unwrap: powdo, stranger": stranger(lambda number: open_wrap(texts[number])),
        "unwrap: floor, key remembered": lambda number: floor_open(opened[number], 1),
        "unwrap: floor": stranger(lambda number: floor_open(opened[number], 2)),
    }


def tell(rounds: measure.Rounds) -> None:
    """Write the ratios beside their goals."""
    for what, goal in (("wrap", 3.5), ("unwrap", 6.0)):
        if f"{what}: nostr-sdk" in rounds:
            for who in ("powdo", "powdo, stranger"):
                speed = measure.ratio(rounds, f"{what}: nostr-sdk", f"{what}: {who}")
                measure.at_least(f"{what}: {who} / nostr-sdk", speed, goal)
        for who, floor in (("powdo", "floor, key remembered"), ("powdo, stranger", "floor")):
            share = measure.ratio(rounds, f"{what}: {floor}", f"{what}: {who}")
            measure.at_least(f"{what}: {who} / {floor}", share, 0.5)


def main() -> None:
    """Run all in turns and print ratios."""
    message = rumor()
    texts = [make(message, AUTHOR) for _ in range(COUNT)]

    def many(work: Callable[[int], object]) -> Callable[[], float]:
        def run() -> None:
            for number in range(COUNT):
                work(number)

        return lambda: measure.own(run)

    measure.headline(f"Gift wraps of a rumor of {len(message.to_bytes())} bytes, {COUNT} a round")
    works = ours(message, texts) | nostr_sdk(message, texts)
    rounds = measure.in_turns({name: many(work) for name, work in works.items()}, ROUNDS)
    measure.show(rounds, COUNT)
    measure.write()
    tell(rounds)


if __name__ == "__main__":
    main()
