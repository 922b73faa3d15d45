"""The tables of the proof-of-work service: accounts, what moved on them, and the jobs it moved for.

Amounts are thousandths of a satoshi. A job is paid for before it begins, in the transaction that notes it:
while it is open its fee may have to go back. An account is what its entries add up to, less what jobs were
charged that have been forgotten, with their entries (*folded*); `Books.audit` checks.
"""

from __future__ import annotations

import sqlalchemy as sa

NOTED = "pow_version"
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_HEX = sa.String(64)

account = sa.Table(
    "pow_account",
    metadata,
    sa.Column("pubkey", _HEX, primary_key=True),
    sa.Column("msat", sa.BigInteger, nullable=False),
    sa.Column("folded_msat", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("folded_jobs", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("msat >= 0", name="covered"),
)
job = sa.Table(
    "pow_job",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("service", sa.String(32), nullable=False),
    sa.Column("pubkey", _HEX, nullable=False),
    sa.Column("request", _HEX, nullable=False),
    sa.Column("fee", sa.BigInteger, nullable=False),
    sa.Column("charged", sa.BigInteger),
    sa.Column("state", sa.String(9), nullable=False),
    sa.Column("begun_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("result", sa.Text),
    sa.Index(None, "request"),
    sa.Index(None, "state", "service"),
    sa.Index(None, "ended_at"),
)
entry = sa.Table(
    "pow_entry",
    metadata,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("pubkey", _HEX, nullable=False),
    sa.Column("msat", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(6), nullable=False),
    sa.Column("job", sa.String(32)),
    sa.Column("note", sa.Text),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("job", "kind"),
    sa.Index(None, "pubkey"),
)
