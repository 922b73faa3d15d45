"""A Blossom server (BUD-01, 02, 06, 11, 12) that keeps blobs for the keys on its allowlist.

    config.py    what the server is told: one frozen Config
    wire.py      headers that every answer has, Refusal, reasons in ASCII, client addresses
    ranges.py    Range, If-Range and If-None-Match, pure
    gate.py      who may do what: tokens, allowlist
    storage.py   a folder of blobs behind the protocol Storage
    metadata.py  which blobs there are and whose: SQLite, group commit
    uploads.py   PUT and HEAD /upload
    blobs.py     GET, HEAD and DELETE /<sha256>, GET /list/<pubkey>
    app.py       from a request to its handler, and how a server is started and stopped

Durability: 201 is said after the file is on disk (fsync), has its name (rename), the name is on disk
(fsync of the directories) and the row is committed, in this order.
"""
