"""The tables of all rooms, as SQLAlchemy Core: what a database of this version looks like.

In: a database.
Out: its tables, made where it is empty; refused where it is of another version.
May import: database.

Who changes a table here adds a revision to `ehr_gateway.migrations` and raises `revision.HEAD`.
"""

from __future__ import annotations

from sqlalchemy import MetaData

from ehr_gateway.schema import access_requests, accounts, audit_log, notices, resources

__all__ = ["ALL_TABLES"]

ALL_TABLES: tuple[MetaData, ...] = (
    resources.METADATA,
    accounts.METADATA,
    audit_log.METADATA,
    access_requests.METADATA,
    notices.METADATA,
)
