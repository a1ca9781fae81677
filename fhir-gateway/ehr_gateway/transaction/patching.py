"""Apply a patch to a version before the writer's lock is taken.

A patch may be long and its paths costly. If another write comes in between, `Transaction.patch`
sees that the patched version is no longer the current one and applies the patch again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from ehr_fhir.errors import NotFound
from ehr_fhir.json_text import parse
from ehr_fhir.patch.patch import Patch
from ehr_fhir.references import Replacements
from ehr_fhir.resource_links import replace_links
from ehr_gateway.access import Access
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.prepared_resource import Draft, prepare_draft

__all__ = ["PatchedDraft", "apply_patch", "apply_patch_to_current"]

_NO_REPLACEMENTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class PatchedDraft:
    """The next version as a draft, and the position of the version that was patched."""

    base: int
    draft: Draft


def apply_patch(
    current: Version, patch: Patch, access: Access, replacements: Replacements = _NO_REPLACEMENTS
) -> PatchedDraft:
    """Apply a patch to a version and validate the result."""
    now = datetime.fromtimestamp(access.now_ms / 1000, UTC)
    resource = patch.apply(parse(current.body), now)
    replace_links(resource, replacements)
    return PatchedDraft(current.position, prepare_draft(resource, current.id, access, current.type))


def apply_patch_to_current(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    patch: Patch,
    if_match: int | None = None,
    replacements: Replacements = _NO_REPLACEMENTS,
) -> PatchedDraft | None:
    """Apply a patch to the current version without the lock; None if no version can be patched.

    The error is left to the transaction, which sees the store as the write does.
    """
    try:
        with store.read_transaction() as connection:
            current = read_on(connection, access, resource_type, identity)
    except NotFound:
        return None
    if if_match not in (None, current.version):
        return None
    return apply_patch(current, patch, access, replacements)
