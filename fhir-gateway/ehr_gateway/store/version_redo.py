"""Which versions of resources a restore must replay from the journal."""

from __future__ import annotations

from collections.abc import Iterable

from ehr_gateway.journal.redo_actions import RedoAction, build_version_redo
from ehr_gateway.store.store import Version
from ehr_privacy.consent import HeldFact, Record

__all__ = ["find_version_redo"]


def find_version_redo(
    version: Version,
    record: Record,
    before: Record | None,
    *,
    held: Iterable[HeldFact] = (),
    rules_changed: bool = False,
) -> RedoAction | None:
    """Return the redo action of a version; None if it cannot take access or data away.

    It may if it is a Consent, a PractitionerRole (whose a nameless record may be), a Patient linked
    to another, or a deletion, or if its consent facts
    (labels, patients, domain, ...) differ from those of the version `before` it,
    or if it gives other rules: an Organization's deemed sharing that ended, a Patient's birth date.
    """
    may_restrict = (
        record.type in ("Consent", "PractitionerRole")
        or version.deleted
        or (record.type == "Patient" and b'"link"' in version.body)
        or (before is not None and before != record)
        or rules_changed
    )
    if not may_restrict:
        return None
    return build_version_redo(
        kind=version.type,
        identity=version.id,
        method=version.method,
        author=version.author,
        body=version.body,
        held=held,
    )
