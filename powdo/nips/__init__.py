"""Nostr, pure: bytes, time and randomness come in as arguments, and nothing here does any I/O."""
