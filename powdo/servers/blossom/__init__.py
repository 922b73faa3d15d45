"""A Blossom server (BUD-01, 02, 04, 06, 11, 12) that keeps blobs for the keys on its allowlist.

    config.py       what the server is told: one frozen Config
    wire.py         headers that every answer has, Refusal, reasons in ASCII
    ranges.py       Range, If-Range and If-None-Match, pure
    gate.py         who may do what: tokens, allowlist; removals.py: who is off it, and since when
    slots.py        how many uploads and requests at once; quota.py: how much is kept
    storage.py      a folder of blobs behind the protocol Storage; locks.py: who changes a blob
    tables.py       the tables and their versions; rows.py, usage.py: what is done with them
    metadata.py     which blobs there are and whose: SQLite, group commit
    retention.py    when a blob goes; sweeping.py: how
    census.py       what there is; checking.py: whether it is whole
    uploads.py      PUT and HEAD /upload; mirror.py, origins.py: PUT /mirror
    blobs.py        GET, HEAD and DELETE /<sha256>, GET /list/<pubkey>
    connections.py  which connections there are, and which give way
    app.py          from a request to its handler, and how a server is started and stopped; alone.py: but once

Durability: 201 is said after the file is on disk (fsync), has its name (rename), the name is on disk
(fsync of the directories) and the row is committed, in this order.
"""
