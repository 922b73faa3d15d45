"""The servers of the public side: asyncio applications that keep ciphertext for people on a list."""
