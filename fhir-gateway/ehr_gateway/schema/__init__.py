"""Schema: all tables of the gateway in SQLAlchemy Core, and the revision of a database.

In: a database.
Out: the tables, created in an empty database; Unavailable for one of another revision.
May import: database.

A column whose name ends in `_ms` holds milliseconds since 1970; one that is 0 or 1 is a boolean.
If you change a table, add a revision (`ehr_gateway.migrations`) and raise `revision.HEAD`.
"""

from __future__ import annotations

from sqlalchemy import MetaData

from ehr_gateway.schema import (
    access_requests,
    accounts,
    audit_log,
    bulk_data,
    decision_support,
    health_links,
    notices,
    resources,
    subscriptions,
    terminology,
)

__all__ = ["ALL_TABLES"]

ALL_TABLES: tuple[MetaData, ...] = (
    resources.METADATA,
    accounts.METADATA,
    audit_log.METADATA,
    access_requests.METADATA,
    notices.METADATA,
    decision_support.METADATA,
    bulk_data.METADATA,
    terminology.METADATA,
    health_links.METADATA,
    subscriptions.METADATA,
)
