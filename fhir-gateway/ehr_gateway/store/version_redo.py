"""Which versions of records close something: what a restore must replay from the journal."""

from __future__ import annotations

from ehr_gateway.journal.redo_actions import RedoAction, build_version_redo
from ehr_gateway.store.store import Version
from ehr_privacy.consent import Record

__all__ = ["find_version_redo"]


def find_version_redo(version: Version, record: Record, before: Record | None) -> RedoAction | None:
    """Return what the journal keeps of a version; None where it can close nothing.

    Every Consent; a Patient that is linked to another; what was deleted; and a record whose facts
    (labels, patients, domain, ...) are others than those of the version `before` it.
    """
    closes = (
        record.type == "Consent"
        or version.deleted
        or (record.type == "Patient" and b'"link"' in version.body)
        or (before is not None and before != record)
    )
    if not closes:
        return None
    return build_version_redo(
        kind=version.type,
        identity=version.id,
        method=version.method,
        author=version.author,
        body=version.body,
    )
