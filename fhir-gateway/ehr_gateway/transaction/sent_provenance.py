"""Provenance that a write was sent with: stored with it, about the versions that it stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ehr_fhir.errors import Unprocessable
from ehr_gateway.access import Access
from ehr_gateway.ids import new_id
from ehr_gateway.store.store import Version
from ehr_gateway.transaction.prepared_resource import Draft, prepare_draft

__all__ = ["draft_provenance"]


def draft_provenance(
    access: Access, versions: Sequence[Version], proposals: Sequence[Version]
) -> list[Draft]:
    """Return the Provenance of what was stored: one for each patient's records among it.

    One for all of them would tell whoever reads it about one patient of the others' records. What
    was deleted is not there to be named.
    """
    if access.provenance is None:
        return []
    if proposals:
        text = "X-Provenance is not kept with a change that waits for a steward: send it without."
        raise Unprocessable(text, issue_code="not-supported")
    targets: dict[frozenset[str], list[dict[str, str]]] = defaultdict(list)
    for version in versions:
        if not version.deleted:
            patients = frozenset(version.facts.record.patients if version.facts else ())
            address = f"{version.type}/{version.id}/_history/{version.version}"
            targets[patients].append({"reference": address})
    return [
        prepare_draft({**access.provenance, "target": group}, new_id(), access, "Provenance")
        for group in targets.values()
    ]
