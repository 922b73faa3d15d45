"""Nostr, pure: bytes, time and randomness come in as arguments; nothing here does I/O."""
