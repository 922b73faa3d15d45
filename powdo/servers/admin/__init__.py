"""Changing an allowlist from elsewhere: the admin API (a secret) and relay management (NIP-86, a signature).

wire.py        bodies in, JSON out, and refusals with a status
guard.py       who may call the admin API: networks, the secret, how often it may be wrong
handlers.py    what may be done to the list, whoever asks
api.py         /admin/allow and /admin/allow/sync
management.py  NIP-86 over the same handlers
standalone.py  the admin API as a server of its own, beside another relay
"""
